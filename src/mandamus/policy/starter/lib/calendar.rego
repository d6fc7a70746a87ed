# The recorded clock, in a time zone, beside the calendar of data.json.
package lib.calendar

now := time.parse_rfc3339_ns(input.now)

# "2026-01-31", "01-31", "Saturday" and "14:05" of the moment in a zone such as "Europe/Berlin".
date(zone) := time.format([now, zone, "2006-01-02"])

day(zone) := time.format([now, zone, "01-02"])

weekday(zone) := time.weekday([now, zone])

clock(zone) := time.format([now, zone, "15:04"])

# "2026-12-20" to "2027-01-02" once, "12-20" to "01-02" every year (both with their last day), or two moments in RFC 3339.
within(zone, period) if {
	_every_year(period)
	period.from <= period.to
	day(zone) >= period.from
	day(zone) <= period.to
}

within(zone, period) if {
	_every_year(period)
	period.from > period.to
	_outside(day(zone), period)
}

within(zone, period) if {
	_dates(period)
	date(zone) >= period.from
	date(zone) <= period.to
}

within(_, period) if {
	_moments(period)
	now >= time.parse_rfc3339_ns(period.from)
	now < time.parse_rfc3339_ns(period.to)
}

# What is none of these is a freeze that nobody can read: it counts, until it is mended.
within(_, period) if {
	not _every_year(period)
	not _dates(period)
	not _moments(period)
}

_outside(day_, period) if day_ >= period.from

_outside(day_, period) if day_ <= period.to

_every_year(period) if _both(`^(0[1-9]|1[0-2])-([0-2][0-9]|3[01])$`, period)

_dates(period) if _both(`^[0-9]{4}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])$`, period)

_moments(period) if _both(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`, period)

_both(pattern, period) if {
	is_string(period.from)
	is_string(period.to)
	regex.match(pattern, period.from)
	regex.match(pattern, period.to)
}
