// What Python wrote into the page: arrays of numbers in base64, in the least type that holds them.

const ARRAYS = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** The bytes of a base64 text. */
export function decodeBytes(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; ++i) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** The numbers of `{type, data}`. */
export function decodeArray({ type, data }) {
  const bytes = decodeBytes(data);
  return new ARRAYS[type](bytes.buffer, 0, bytes.length / ARRAYS[type].BYTES_PER_ELEMENT);
}

/** Numbers one behind the other that grow as they come. */
export class Numbers {
  constructor(ArrayType, columns = 1) {
    this.columns = columns;
    this.length = 0; // rows
    this.values = new ArrayType(64 * columns);
  }

  push(row) {
    const start = this.length * this.columns;
    if (start + this.columns > this.values.length) {
      const larger = new this.values.constructor(2 * this.values.length + this.columns);
      larger.set(this.values);
      this.values = larger;
    }
    if (this.columns === 1 && typeof row === "number") this.values[start] = row;
    else for (let i = 0; i < this.columns; ++i) this.values[start + i] = row[i];
    ++this.length;
  }

  row(index) {
    return this.values.subarray(index * this.columns, (index + 1) * this.columns);
  }

  /** Forgets the first rows. */
  drop(count) {
    this.values.copyWithin(0, count * this.columns, this.length * this.columns);
    this.length -= count;
  }
}

/** Of ascending numbers the index of the first that is larger than `value`. */
export function firstAbove(numbers, value) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers.values[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
