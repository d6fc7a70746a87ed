"""Whether every effect was promised before it was made, on decisions and approvals of exactly what was bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mandamus.audit.model import Verdict
from mandamus.evidence.case import Case, Record
from mandamus.evidence.people import NO, YES, Makers, Vote, judged
from mandamus.kernel import canonical

DENY, ASK = "deny", "needs_approval"
SETTLED = {"succeeded": "succeeded", "failed": "failed", "not_started": "void", "retry": "void"}

Key = tuple[str | None, int, str]


def check_decisions(case: Case) -> dict[str, Record]:
    """Every decision's document says what its event says; gives the events by decision.

    What policy let in stands on a decision that is no deny, and what it kept out on one that is.
    """
    found: dict[str, Record] = {}
    for record in case.of("decision.recorded"):
        with case.reading(record):
            file = f"decisions/{record.data['decision']}.json"
            with case.reading(record, file):
                document = case.document(file)
                pairs = {name: (document[name], record.data[name]) for name in ("point", "outcome", "sets", "engine")}
                pairs |= {
                    "input": (document["input_digest"], record.data["input"]),
                    "step": (document["step"], record.step),
                }
                pairs |= {"run": (document["run"], case.run), "id": (document["id"], record.data["decision"])}
                for what, (held, told) in pairs.items():
                    if held != told:
                        case.wrong(f"its {what} is {held!r}, and leaf {record.index} says {told!r}", record, file)
            found[record.data["decision"]] = record
    for record in case.of("run.admitted"):
        with case.reading(record):
            _check_let(case, record, found)
    for record in case.of("run.denied"):
        with case.reading(record):
            denying = found.get(record.data["decision"])
            if denying is None or denying.data["outcome"] != DENY:
                case.wrong("the run was denied without a decision that denies", record)
    return found


def check_effects(case: Case, decisions: Mapping[str, Record], votes: Mapping[str, Vote], makers: Makers) -> None:
    """Every promise stands on a plan, on decisions and on people, and has exactly one end."""
    intents: dict[Key, Record] = {}
    for record in case.of("effect.intended"):
        with case.reading(record):
            if _key(record) in intents:
                case.wrong(f"the effect of step {record.step} was promised twice in one attempt", record)
            intents.setdefault(_key(record), record)
            _check_admitted(case, record)
            planned = _check_bound(case, record)
            if planned is not None:
                _check_let(case, record, decisions)
                _check_judged(case, record, planned, decisions)
                yes = _check_yes(case, record, votes, makers.by(record))
                _check_counts(case, record, _asked(case, record, planned, decisions), yes)
                _check_reasons(case, record, planned, yes)
    ends = _ends(case, intents)
    _check_lost(case, {key: record for key, record in intents.items() if key not in ends})
    _check_successes(case, ends)


def _check_lost(case: Case, endless: Mapping[Key, Record]) -> None:
    """An effect has no end only in a run that rests for that, and where the log says that nobody knows it."""
    lost = {_key(record): record for record in case.of("effect.indeterminate")}
    for key, record in endless.items():
        said = lost.get(key)
        if case.closed or said is None or said.index < record.index:
            why = f"nothing tells what became of the effect of step {record.step}"
            case.wrong(why, record, verdict=Verdict.INCOMPLETE)
        else:
            case.notes.append(
                f"this run is not settled: nobody knows the end of the effect of step {record.step} (leaf {said.index})"
            )
    if not case.closed and not endless:
        case.wrong("the run is said not to be settled, and every effect in it has an end", case.records[-1])


def _check_admitted(case: Case, record: Record) -> None:
    admitted = case.of("run.admitted")
    if not admitted or admitted[0].index > record.index:
        case.wrong("an effect was promised in a run that was not admitted", record)
    if case.requested.data["plan_only"]:
        case.wrong("an effect was promised in a run that only plans", record)


def _check_bound(case: Case, record: Record) -> Record | None:
    """The plan that the promise is about; None when there is none."""
    planned = case.last("step.planned", record.step, record)
    if planned is None or planned.data["attempt"] != record.data["attempt"]:
        case.wrong("an effect was promised without a plan of its attempt", record)
        return None
    waited = case.last("step.waiting", record.step, record, planned)
    bound = (waited or planned).data["binding"]
    if record.data["binding"] != bound:
        case.wrong(f"the promise is bound to {record.data['binding']}, the plan to {bound}", record)
    if record.data["artifact"] != planned.data["artifact"]:
        case.wrong(f"the promise is about {record.data['artifact']}, the plan is {planned.data['artifact']}", record)
    return planned


def _check_let(case: Case, record: Record, decisions: Mapping[str, Record]) -> None:
    """What happened stands on decisions made before it, none of them a deny."""
    if not record.decisions:
        case.wrong("it stands on no decision", record)
    for name in record.decisions:
        decision = decisions.get(name)
        if decision is None or decision.index > record.index or decision.step != record.step:
            case.wrong(f"it stands on the decision {name}, which was not made for it", record)
        elif decision.data["outcome"] == DENY:
            case.wrong(f"it stands on the decision {name}, which denies it", record)


def _check_judged(case: Case, record: Record, planned: Record, decisions: Mapping[str, Record]) -> None:
    """Policy saw the very change set that is bound, and at the last question the very binding."""
    seen = False
    for decision in _standing(record, decisions):
        document = judged(case, decision)
        if decision.data["point"] == "plan":
            seen = True
            if canonical.digest_of(document["change_set"]) != planned.data["change_set"]:
                case.wrong(f"the decision {decision.data['decision']} judged another change set", record)
        if decision.data["point"] == "apply" and document["plan"]["binding"] != record.data["binding"]:
            case.wrong(f"the decision {decision.data['decision']} judged another binding", record)
    if not seen:
        case.wrong("no decision judged the plan", record)


def _check_yes(case: Case, record: Record, votes: Mapping[str, Vote], barred: set[str]) -> list[Vote]:
    """The approvals it stands on that count; nobody had said no."""
    yes: list[Vote] = []
    for name in record.approvals:
        vote = votes.get(name)
        if vote is None or vote.record.index > record.index:
            case.wrong(f"it stands on the approval {name}, which is not there, not sound, or came later", record)
        elif vote.verdict != YES or vote.binding != record.data["binding"]:
            case.wrong(f"it stands on the approval {name}, which is no yes to this binding", record)
        elif vote.by in barred:
            case.wrong(f"it stands on the approval {name} by {vote.by}, who made this change", record)
        elif vote.expires_us <= record.at_us:
            case.wrong(f"it stands on the approval {name}, which had expired", record)
        else:
            yes.append(vote)
    for vote in votes.values():
        if vote.verdict == NO and vote.binding == record.data["binding"] and vote.record.index < record.index:
            case.wrong(f"{vote.by} had said no to it", record)
    return yes


def _check_counts(case: Case, record: Record, asked: Iterable[tuple[str | None, int]], yes: list[Vote]) -> None:
    for group, count in asked:
        people = {vote.by for vote in yes if group is None or vote.group == group}
        if len(people) < count:
            of = "" if not group else f" of {group}"
            case.wrong(f"step {record.step} needs {count} approvals{of} and has {len(people)}", record)


def _asked(
    case: Case, record: Record, planned: Record, decisions: Mapping[str, Record]
) -> list[tuple[str | None, int]]:
    """How many of which group: what the step waited for, and what its decisions ask for.

    A rule that names no group asks for the environment's approvers, of whom the bundle does not know; that many
    people in all is then what can be checked (group None).
    """
    waited = case.last("step.waiting", record.step, record, planned)
    asked: list[tuple[str | None, int]] = []
    if waited is not None:
        asked += [(each["group"], each["count"]) for each in waited.data["requires"]]
    for decision in [*_at_request(decisions), *_standing(record, decisions)]:
        document = case.document(f"decisions/{decision.data['decision']}.json")
        asked += [(each["group"] or None, each["count"]) for each in document["requires"]]
        if document["outcome"] == ASK and not document["requires"]:
            case.wrong(f"the decision {document['id']} asks for approvals and does not say for whose", decision)
    return asked


def _check_reasons(case: Case, record: Record, planned: Record, yes: list[Vote]) -> None:
    """Whoever lets a rule be broken says why."""
    waited = case.last("step.waiting", record.step, record, planned)
    overridden = {each["group"] for each in waited.data["requires"] if each.get("override")} if waited else set()
    for vote in yes:
        if vote.group in overridden and not vote.reason.strip():
            case.wrong(f"the approval {vote.id} by {vote.by} overrides a rule and gives no reason", record)


def _at_request(decisions: Mapping[str, Record]) -> list[Record]:
    """What policy asked for when the run was requested counts for every step."""
    return [decision for decision in decisions.values() if decision.data["point"] == "trigger"]


def _standing(record: Record, decisions: Mapping[str, Record]) -> list[Record]:
    return [decisions[name] for name in record.decisions if name in decisions]


def _ends(case: Case, intents: Mapping[Key, Record]) -> dict[Key, str]:
    """How each promised effect ended, as a result says it or a probe or a person settled it."""
    ends: dict[Key, str] = {}
    files = {document.leaf: document.file for document in case.documents if document.what == "result"}
    told: set[tuple[str, Key]] = set()
    for record in case.records:
        if record.kind not in ("effect.finished", "effect.settled"):
            continue
        with case.reading(record):
            key = _key(record)
            intent = intents.get(key)
            if intent is None or intent.index > record.index:
                case.wrong("an effect ended that was never promised", record)
                continue
            word = record.data["outcome"] if record.kind == "effect.finished" else SETTLED[record.data["as"]]
            twice = (record.kind, key) in told or ("effect.finished", key) in told
            if ends.setdefault(key, word) != word or twice:
                case.wrong(f"the effect of step {record.step} ended twice, as {ends[key]} and as {word}", record)
            told.add((record.kind, key))
            if record.kind == "effect.finished":
                _check_result(case, record, files[record.index])
            elif not record.data["by_probe"]:
                who, reason = record.who["subject"], record.fields["why"]
                case.notes.append(
                    f"{who} settled step {record.step} as {record.data['as']}: {reason} (leaf {record.index})"
                )
    return ends


def _check_result(case: Case, record: Record, file: str) -> None:
    with case.reading(record, file):
        result = case.document(file)
        if record.data["outcome"] != ("succeeded" if result["ok"] else "failed"):
            case.wrong(
                f"it says ok: {result['ok']}, and leaf {record.index} says {record.data['outcome']}", record, file
            )
        for end in case.of_step("step.finished", record.step):
            same = end.data["attempt"] == record.data["attempt"]
            if same and end.data["outputs"] not in (None, canonical.digest_of(result["outputs"])):
                case.wrong(f"its outputs are not those that leaf {end.index} names", end, file)


def _check_successes(case: Case, ends: Mapping[Key, str]) -> None:
    """A step that succeeded had an effect that did."""
    done = {(step, attempt) for (step, attempt, _), word in ends.items() if word == "succeeded"}
    for record in case.of("step.finished"):
        with case.reading(record):
            if record.data["state"] == "succeeded" and (record.step, record.data["attempt"]) not in done:
                case.wrong(f"step {record.step} succeeded without an effect that did", record)


def _key(record: Record) -> Key:
    data: Mapping[str, Any] = record.data
    return record.step, data["attempt"], data["phase"]
