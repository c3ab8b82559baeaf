import type { HeaderFields } from "../protocol/messages.ts";

/**
 * Makes the `Headers` of answers. The fields of one answer are mostly called as those of the one before it,
 * and some have the same values: then what is different is written over in the same `Headers`. Making new
 * ones takes three times as long. A `Response` copies what it is given, so that nothing of it is shared.
 */
export class AnswerHeaders {
  #headers = new Headers();
  #names: string[] = [];
  #values: string[] = [];

  /**
   * @param fields valid ones, by lower-case name
   * @returns good until this is called again
   */
  of(fields: HeaderFields): Headers {
    let at = 0;
    for (const name in fields) {
      if (this.#names[at] !== name) return this.#anew(fields);
      const value = fields[name]!;
      if (this.#values[at] !== value) {
        this.#headers.set(name, value);
        this.#values[at] = value;
      }
      at++;
    }
    return at === this.#names.length ? this.#headers : this.#anew(fields);
  }

  #anew(fields: HeaderFields): Headers {
    this.#headers = new Headers(fields);
    this.#names = Object.keys(fields);
    this.#values = Object.values(fields);
    return this.#headers;
  }
}
