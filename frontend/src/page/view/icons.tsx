/** The page's icons: strokes on a grid of 24, in the colour of the text around them. */

const PATHS = {
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h10",
  close: "M6 6l12 12M18 6L6 18",
  more: "M5.5 12a.8.8 0 1 0 1.6 0 .8.8 0 1 0-1.6 0M11.2 12a.8.8 0 1 0 1.6 0 .8.8 0 1 0-1.6 0M16.9 12a.8.8 0 1 0 1.6 0 .8.8 0 1 0-1.6 0",
  sliders: "M4 8h8M18 8h2M12 8a3 3 0 1 0 6 0 3 3 0 1 0-6 0M4 16h2M12 16h8M6 16a3 3 0 1 0 6 0 3 3 0 1 0-6 0",
  up: "M12 19V6M6 11.5L12 5.5l6 6",
  down: "M12 5v13M6 12.5l6 6 6-6",
  square: "M7.5 7.5h9v9h-9z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  again: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  edit: "M5 19h3.5L18.5 9 15 5.5 5 15.5zM13 7.5l3.5 3.5",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.7l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  pieces: "M4 8h5v8H4zM11 8h3v8h-3zM16 8h4v8h-4z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The sign of the house: tokens on a wire. */
export function Glyph() {
  return (
    <svg class="glyph" viewBox="0 0 32 16" aria-hidden="true">
      <path d="M1 8h30" />
      <circle cx="8" cy="8" r="2.5" />
      <circle cx="16" cy="8" r="2.5" />
      <circle cx="24" cy="8" r="2.5" />
    </svg>
  );
}
