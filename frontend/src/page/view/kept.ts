/** Spares what has not changed: a component that is drawn again only if one of its properties is another. */

import { Component, type ComponentType, h } from "preact";

type Properties = Readonly<Record<string, unknown>>;

export function kept<P extends object>(Drawn: (properties: P) => preact.ComponentChild): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      return differ(this.props as Properties, next as Properties);
    }

    override render() {
      return h(Drawn, this.props as P);
    }
  };
}

function differ(before: Properties, after: Properties): boolean {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].some((name) => name !== "ref" && before[name] !== after[name]);
}
