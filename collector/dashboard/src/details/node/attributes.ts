/** A span's attributes in people's words. Pure. */
import { count, withSpaces } from "../../lib/format";

export type Attributes = Readonly<Record<string, unknown>>;

/** One attribute as it is shown. */
export interface NamedAttribute {
  name: string;
  text: string;
  /** The attributes that it was made of, as OpenTelemetry names them. */
  keys: readonly string[];
}

/**
 * What is shown first, in this order: a word for people, and the names that OpenTelemetry's
 * semantic conventions and older instrumentations give it. The first that is there is shown.
 */
const WORDS: readonly (readonly [string, ...string[]])[] = [
  ["Model", "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "ai.model.id"],
  ["Provider", "gen_ai.provider.name", "gen_ai.system", "llm.provider"],
  ["Agent", "gen_ai.agent.name"],
  ["Tool", "gen_ai.tool.name", "tool.name"],
  [
    "Input tokens",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
  ],
  [
    "Output tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
  ],
  ["Service", "service.name"],
  ["Version", "service.version"],
  ["HTTP method", "http.request.method", "http.method"],
  ["HTTP route", "http.route", "url.template", "http.target", "url.path"],
  ["HTTP status", "http.response.status_code", "http.status_code"],
  ["Address", "url.full", "http.url"],
  ["Server", "server.address", "net.peer.name"],
  ["Database", "db.system.name", "db.system"],
  ["Database name", "db.namespace", "db.name"],
  ["Table", "db.collection.name", "db.sql.table"],
  ["Statement", "db.query.summary", "db.query.text", "db.statement"],
  ["Messaging", "messaging.system"],
  ["Destination", "messaging.destination.name", "messaging.destination"],
  ["RPC", "rpc.method"],
  ["Function", "code.function.name", "code.function"],
  ["Error type", "error.type", "exception.type"],
  ["Host", "host.name"],
];

/** Longer values are truncated where they are shown first; the whole value is below. */
const MAX_CHARS = 300;

/** Attributes by the program's own names that are shown first. */
const MAX_OWN = 12;

/**
 * The attributes that have a word for people, in a fixed order, then those that the program names
 * itself, which have no dot (`nexus.meta.row` is `row`), and all others by their names.
 */
export function namedAttributes(attributes: Attributes): {
  first: NamedAttribute[];
  rest: NamedAttribute[];
} {
  const first: NamedAttribute[] = [];
  const taken = new Set<string>();
  for (const [name, ...keys] of WORDS) {
    const key = keys.find((one) => isGiven(attributes[one]));
    if (key === undefined) continue;
    const text = valueText(attributes[key]);
    first.push({ name, text: truncated(text), keys: [key] });
    if (text.length <= MAX_CHARS) taken.add(key);
  }
  const others = Object.entries(attributes)
    .filter(([key, value]) => !taken.has(key) && isGiven(value))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ name: key, text: valueText(value), keys: [key] }));
  const isOwn = ({ name, text }: NamedAttribute) => !name.includes(".") && text.length <= MAX_CHARS;
  const own = others.filter(isOwn).slice(0, MAX_OWN);
  return {
    first: [...first, ...own.map((one) => ({ ...one, name: withSpaces(one.name) }))],
    rest: others.filter((one) => !own.includes(one)),
  };
}

/** A value as text: numbers with separators, lists between commas, records as JSON. */
export function valueText(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number")
    return Number.isInteger(value) && Math.abs(value) >= 10_000
      ? value.toLocaleString("en-US")
      : String(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.every((one) => typeof one !== "object"))
    return value.map(valueText).join(", ");
  return JSON.stringify(value);
}

/** How many attributes are folded away, in words. */
export function restLabel(rest: number, first: number): string {
  const word = rest === 1 ? "attribute" : "attributes";
  return first === 0 ? `${count(rest)} ${word}` : `${count(rest)} more ${word}`;
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined && value !== "";
}

function truncated(text: string): string {
  return text.length <= MAX_CHARS ? text : `${text.slice(0, MAX_CHARS)}…`;
}
