type Schema = Record<string, unknown>;

/** Depth at which a recursive schema is cut off. */
const MAX_DEPTH = 6;

const BY_NAME: Record<string, string> = {
  city: "Paris",
  location: "Paris",
  place: "Paris",
  country: "France",
  name: "Ada",
  path: "README.md",
  file: "README.md",
  file_path: "README.md",
  command: "echo hello",
  language: "en",
};

const BY_FORMAT: Record<string, string> = {
  "date-time": "2026-01-01T12:00:00Z",
  date: "2026-01-01",
  time: "12:00:00Z",
  duration: "PT1H",
  email: "ada@example.com",
  hostname: "example.com",
  ipv4: "192.0.2.1",
  ipv6: "2001:db8::1",
  uri: "https://example.com/",
  uuid: "00000000-0000-4000-8000-000000000000",
};

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function sampleString(schema: Schema, name: string): string {
  const format = typeof schema["format"] === "string" ? schema["format"] : "";
  const text = BY_FORMAT[format] ?? BY_NAME[name.toLowerCase()] ?? `example ${name}`;
  const maxLength = numberOf(schema["maxLength"]) ?? Number.POSITIVE_INFINITY;
  return text.padEnd(numberOf(schema["minLength"]) ?? 0, ".").slice(0, maxLength);
}

function sampleNumber(schema: Schema): number {
  const step = numberOf(schema["multipleOf"]) ?? 1;
  const above = numberOf(schema["exclusiveMinimum"]);
  const least = numberOf(schema["minimum"]) ?? (above === undefined ? undefined : above + step);
  const most = numberOf(schema["maximum"]);
  const wanted = least ?? Math.min(step, most ?? step);
  return Math.ceil(wanted / step) * step;
}

function sampleObject(schema: Schema, root: unknown, depth: number): Schema {
  const properties = isSchema(schema["properties"]) ? schema["properties"] : {};
  const required = Array.isArray(schema["required"]) ? schema["required"].map(String) : [];
  const names = required.length > 0 ? required : Object.keys(properties);
  return Object.fromEntries(names.map((name) => [name, sample(properties[name], name, root, depth + 1)]));
}

/** The schema that a local reference such as `#/$defs/Place` names. */
function resolve(reference: string, root: unknown): unknown {
  let found = root;
  for (const step of reference.replace(/^#\/?/, "").split("/").filter(Boolean)) {
    found = isSchema(found) ? found[step.replaceAll("~1", "/").replaceAll("~0", "~")] : undefined;
  }
  return found;
}

function typeOf(schema: Schema): unknown {
  const type = Array.isArray(schema["type"]) ? schema["type"].find((one) => one !== "null") : schema["type"];
  return type ?? ("properties" in schema ? "object" : "items" in schema ? "array" : "string");
}

function sample(schema: unknown, name: string, root: unknown, depth: number): unknown {
  if (!isSchema(schema)) return `example ${name}`;
  if (depth > MAX_DEPTH) return null;
  if ("const" in schema) return schema["const"];
  if ("default" in schema) return schema["default"];
  for (const key of ["enum", "examples"]) {
    const values: unknown = schema[key];
    if (Array.isArray(values) && values.length > 0) return values[0];
  }
  if (typeof schema["$ref"] === "string") return sample(resolve(schema["$ref"], root), name, root, depth + 1);
  for (const key of ["anyOf", "oneOf"]) {
    const branches: unknown = schema[key];
    if (!Array.isArray(branches)) continue;
    const branch: unknown = branches.find((one) => isSchema(one) && one["type"] !== "null");
    return sample(branch, name, root, depth + 1);
  }
  if (Array.isArray(schema["allOf"])) {
    const parts = schema["allOf"].map((part) => sample(part, name, root, depth + 1));
    return parts.every(isSchema) ? Object.assign({}, ...parts) : parts[0];
  }
  switch (typeOf(schema)) {
    case "object":
      return sampleObject(schema, root, depth);
    case "array":
      return Array.from({ length: numberOf(schema["minItems"]) ?? 1 }, () =>
        sample(schema["items"], name, root, depth + 1),
      );
    case "number":
    case "integer":
      return sampleNumber(schema);
    case "boolean":
      return true;
    case "null":
      return null;
    default:
      return sampleString(schema, name);
  }
}

/**
 * A plausible value for a JSON Schema: its default, const, first enum member or first example where there
 * is one, otherwise something of the right type within its bounds. Objects get their required properties,
 * or all of them if none is required. `pattern` is not followed.
 */
export function sampleOf(schema: unknown): unknown {
  return sample(schema, "value", schema, 0);
}
