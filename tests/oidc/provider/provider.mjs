// An OpenID provider with people of the tests' own. Usage: node provider.mjs FOLDER_OF_NPM CONFIGURATION_AS_JSON
// It says the port it took on its first line, and answers GET /test?... by which a test says what comes next.
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, text] = process.argv.slice(2);
const given = JSON.parse(text);
const { default: Provider, interactionPolicy } = await import(
  pathToFileURL(path.join(folder, "node_modules/oidc-provider/lib/index.js"))
);

const people = given.people;
const server = http.createServer();
await new Promise((done) => server.listen(0, "localhost", done));
const port = server.address().port;

const claimsOf = (id) => ({ sub: people[id].sub ?? id, preferred_username: id, ...people[id] });
const policy = interactionPolicy.base();
policy.remove("consent");
// A class that the session does not have is asked for anew, as Keycloak and others do it.
const { Check } = interactionPolicy;
policy.get("login").checks.add(
  new Check("step_up", "another class is asked for", (ctx) => {
    const wanted = (ctx.oidc.params.acr_values ?? "").split(" ").filter(Boolean);
    const has = wanted.length === 0 || wanted.includes(ctx.oidc.session.acr);
    return has ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT;
  }),
);

const provider = new Provider(`http://localhost:${port}`, {
  clients: given.clients,
  claims: {
    openid: ["sub", "preferred_username", "groups", "name", "nickname", "email", "email_verified", "acr", "auth_time"],
    profile: [],
    email: [],
  },
  conformIdTokenClaims: false,
  acrValues: ["mfa", "pwd"],
  cookies: { keys: ["of the tests"] },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
  },
  interactions: { policy, url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, id) => ({ accountId: id, claims: async () => claimsOf(id) }),
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
});

// Whoever posts a name here is that person: there is nothing to know, this provider is for tests alone.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/interaction/")) return next();
  if (ctx.method === "GET") {
    const { params } = await provider.interactionDetails(ctx.req, ctx.res);
    ctx.type = "html";
    ctx.body = `<!doctype html><html lang="en"><title>Provider</title><form method="post"><label>Name <input name="login"></label>
<input type="hidden" name="acr" value="${params.acr_values ? "mfa" : "pwd"}"><button>Go in</button></form></html>`;
    return undefined;
  }
  let body = "";
  for await (const part of ctx.req) body += part;
  const form = new URLSearchParams(body);
  const login = form.get("login");
  if (!people[login]) ctx.throw(400, "nobody");
  const result = { login: { accountId: login, acr: form.get("acr") ?? undefined } };
  const to = await provider.interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
  ctx.redirect(to);
  return undefined;
});

server.on("request", provider.callback());
console.log(port);
