// The rate of a transfer over its last seconds, and the time that is left. Knows no clock.

const SPAN = 5_000; // milliseconds
const STALLED = 3_000; // without a byte, after which the time left is unknown

export class Pace {
  #samples = [];

  /** Take that `moved` bytes have moved at `now` milliseconds. */
  add(now, moved) {
    const last = this.#samples.at(-1);
    if (last !== undefined && moved < last.moved) this.#samples = [];
    if (this.#samples.at(-1)?.moved !== moved || this.#samples.length === 0) this.#samples.push({ now, moved });
    while (this.#samples.length > 2 && now - this.#samples[1].now > SPAN) this.#samples.shift();
  }

  /** Return bytes per second, 0 while it is stalled or not known yet. */
  rate(now) {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || now - last.now > STALLED || now - first.now < 200) return 0;
    return (last.moved - first.moved) / (Math.max(now, first.now + 200) - first.now) * 1000;
  }

  /** Return the seconds that are left, or null if they are not known. */
  left(now, size) {
    const rate = this.rate(now);
    const last = this.#samples.at(-1);
    return rate === 0 || size === null ? null : (size - last.moved) / rate;
  }
}
