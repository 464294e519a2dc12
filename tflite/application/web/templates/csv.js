// CSV as loggers, spreadsheets and programs write it.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const DECIMAL_COMMA = /^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?$/;
const DATE = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d(?:[.,]\d+)?))?(Z|[+-]\d\d:\d\d)?$/;
const DELIMITERS = [";", "\t", ",", " "];

/**
 * The columns of a text.
 * @returns {{names: ?string[], columns: Float64Array[], bad: ?string[], dates: boolean[]}} `names` is null without a
 *   header; where a column holds something else than a number, `bad` says what and in which line; `dates` are seconds
 */
export function parseCsv(text) {
  if (text.includes("\0")) throw new Error("The file is no text in UTF-8: save it as CSV in UTF-8.");
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const rows = lines
    .map((line, i) => [line, i + 1])
    .filter(([line]) => line.trim() && !line.trimStart().startsWith("#"));
  if (!rows.length) throw new Error("The file holds no line of data.");
  const delimiter = findDelimiter(rows.slice(0, 20).map(([line]) => line));
  // Some programs end each line with a delimiter.
  if (delimiter !== " " && rows.every(([line]) => line.trimEnd().endsWith(delimiter))) {
    for (const row of rows) row[0] = row[0].trimEnd().slice(0, -1);
  }
  const first = splitLine(rows[0][0], delimiter);
  const number = numberReader(delimiter, rows);
  const hasHeader = first.some((field) => field !== "" && Number.isNaN(number(field)));
  const data = hasHeader ? rows.slice(1) : rows;
  if (!data.length) throw new Error("The file holds a header and no line of data.");
  const columns = first.map(() => new Float64Array(data.length));
  const bad = first.map(() => null);
  data.forEach(([line, place], row) => {
    const fields = splitLine(line, delimiter);
    if (fields.length !== first.length) {
      throw new Error(`Line ${place} has ${fields.length} fields, the first one ${first.length}.`);
    }
    fields.forEach((field, column) => {
      columns[column][row] = number(field);
      if (bad[column] === null && Number.isNaN(columns[column][row])) {
        bad[column] = field === "" ? `nothing in line ${place}` : `"${field}" in line ${place}`;
      }
    });
  });
  const dates = splitLine(data[0][0], delimiter).map((field) => DATE.test(field));
  return { names: hasHeader ? first : null, columns, bad, dates };
}

/** What splits the most lines into equally many fields, and at least two. */
function findDelimiter(lines) {
  const fits = (delimiter) => {
    const counts = lines.map((line) => splitLine(line, delimiter).length);
    return counts[0] > 1 && counts.every((count) => count === counts[0]);
  };
  return DELIMITERS.find(fits) ?? DELIMITERS.find((delimiter) => splitLine(lines[0], delimiter).length > 1) ?? ",";
}

/** The fields of a line, without the quotes around them. */
function splitLine(line, delimiter) {
  if (delimiter === " ") return line.trim().split(/ +/);
  if (!line.includes('"')) return line.split(delimiter).map((field) => field.trim());
  const fields = [];
  let field = "";
  let quoted = false;
  for (let i = 0; i < line.length; ++i) {
    const character = line[i];
    if (quoted && character === '"' && line[i + 1] === '"') field += line[++i];
    else if (character === '"') quoted = !quoted;
    else if (character === delimiter && !quoted) (fields.push(field.trim()), (field = ""));
    else field += character;
  }
  return [...fields, field.trim()];
}

/** Seconds of a date and a time of day. */
function secondsOf([, day, minute, second = "0", zone = "Z"]) {
  return Date.parse(`${day}T${minute}:00${zone}`) / 1000 + Number(second.replace(",", "."));
}

/** Reads a field as a number, NaN if it is none; decimal commas where the file has no decimal point. */
function numberReader(delimiter, rows) {
  const comma = delimiter !== "," && !rows.slice(0, 200).some(([line]) => /\d\.\d/.test(line));
  return (field) => {
    if (NUMBER.test(field)) return Number(field);
    if (comma && DECIMAL_COMMA.test(field)) return Number(field.replace(",", "."));
    const date = DATE.exec(field);
    return date ? secondsOf(date) : NaN;
  };
}
