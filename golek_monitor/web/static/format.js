// How are figures written? Short, with their unit, and a dash for what is not known.

export const NONE = "–";

/** 1234.5 as `1,235`, 12.34 as `12.3`, 0.123 as `0.12`. */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 10_000) return `${trimmed(value / 1000, size >= 100_000 ? 0 : 1)}k`;
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return trimmed(value, size >= 10 ? 1 : 2);
}

function trimmed(value, digits) {
  return value.toFixed(digits).replace(/\.0+$/, "");
}

/** Dollars, to a millionth: `$0.000125`, `$1.50`; nothing where nothing is known. */
export function money(usd) {
  if (usd === null || usd === undefined) return "";
  const [whole, rest] = usd.toFixed(6).split(".");
  return `$${whole}.${rest.slice(0, 2)}${rest.slice(2).replace(/0+$/, "")}`;
}

/** Milliseconds: `85 ms`, `1.24 s`, `2 min 5 s`. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 10) return `${trimmed(ms, 1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${trimmed(ms / 1000, ms < 10_000 ? 2 : 1)} s`;
  return age(ms / 1000);
}

/** Seconds since something: `now`, `12 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function age(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 1) return "now";
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole < 600 && whole % 60 ? ` ${whole % 60} s` : ""}`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h${whole < 36_000 && Math.floor((whole % 3600) / 60) ? ` ${Math.floor((whole % 3600) / 60)} min` : ""}`;
  return `${Math.floor(whole / 86_400)} d`;
}

/** The same, back from now: `12 s ago`. */
export function ago(seconds) {
  const said = age(seconds);
  return said === "now" || said === NONE ? said : `${said} ago`;
}

/** 0.123 as `12 %`. */
export function share(value) {
  return value === null || value === undefined ? NONE : `${Math.round(value * 100)} %`;
}

/** The time of day here of an RFC 3339 moment or of milliseconds: `12:03:05`; with the day when it is another one. */
export function clock(moment) {
  const date = new Date(moment);
  if (!moment || Number.isNaN(date.getTime())) return NONE;
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? time : `${day(date)} ${time}`;
}

function day(date) {
  return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
}

/** Day and time of a moment. */
export function moment(text) {
  const date = new Date(text);
  return !text || Number.isNaN(date.getTime()) ? NONE : `${day(date)} ${date.toLocaleTimeString("en-GB")}`;
}

/** 1536 as `1.5 kB`. */
export function bytes(count) {
  if (count === null || count === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let value = count;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${trimmed(value, value < 10 && at ? 1 : 0)} ${units[at]}`;
}

/** `1 worker`, `2 workers`. */
export function count(number, noun, plural = `${noun}s`) {
  return `${figure(number)} ${number === 1 ? noun : plural}`;
}
