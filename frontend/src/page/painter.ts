/** Joins any number of changes into one paint per animation frame. */

type Frame = (paint: () => void) => void;

export class Painter {
  readonly #paint: () => void;
  readonly #frame: Frame;
  #due = false;

  constructor(paint: () => void, frame: Frame = (callback) => void requestAnimationFrame(callback)) {
    this.#paint = paint;
    this.#frame = frame;
  }

  /** Paint at the next frame.  Asked for again before that, it is the same paint. */
  request(): void {
    if (this.#due) return;
    this.#due = true;
    this.#frame(() => {
      this.#due = false;
      this.#paint();
    });
  }
}
