/** A small menu that opens beside its button: the browser's own popover closes it, by Esc or a click elsewhere. */

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons.tsx";

/** Room left to the edges of the window, in pixels. */
const EDGE = 8;

interface Properties {
  readonly id: string;
  readonly label: string;
  readonly icon: IconName;
  readonly children: ComponentChildren;
}

export function Menu({ id, label, icon, children }: Properties) {
  const button = useRef<HTMLButtonElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const opened = () => {
    if (button.current !== null && box.current !== null)
      lay(box.current, button.current.getBoundingClientRect());
  };
  return (
    <>
      <button ref={button} class="tool" type="button" aria-label={label} title={label} popovertarget={id}>
        <Icon name={icon} />
      </button>
      {/* biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/noStaticElementInteractions: the clicks are those of buttons within */}
      <div
        ref={box}
        id={id}
        class="menu"
        popover="auto"
        onToggle={opened}
        onClick={() => box.current?.hidePopover()}
      >
        {children}
      </div>
    </>
  );
}

/** Put the menu under its button, or above it, within the window. */
function lay(box: HTMLElement, button: DOMRect): void {
  const { width, height } = box.getBoundingClientRect();
  const isBelow = button.bottom + height + EDGE < innerHeight;
  box.style.top = `${isBelow ? button.bottom + 4 : Math.max(EDGE, button.top - height - 4)}px`;
  box.style.left = `${Math.max(EDGE, Math.min(button.left, innerWidth - width - EDGE))}px`;
}
