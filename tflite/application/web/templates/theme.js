// The colours of a page, light or dark.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b8528f", "#8a6d00", "#2f8fd0", "#7a4ea3", "#5b6770"];
const DARK = ["#56b4e9", "#ff9a4d", "#2fd3a2", "#e58fc3", "#e8d44d", "#8fc7ff", "#b99aff", "#a9b4bd"];

/** Colours as the page's style has them. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const own = dark ? DARK : LIGHT;
  return {
    ink: color("ink"),
    quiet: color("quiet"),
    line: color("line"),
    back: color("back"),
    onColor: dark ? "#10161c" : "#ffffff",
    /** That of a number, the same everywhere; behind the eighth they are further round the circle. */
    of: (index) => (index < own.length ? own[index] : `hsl(${(index * 137.5) % 360} 60% ${dark ? 68 : 40}%)`),
  };
}
