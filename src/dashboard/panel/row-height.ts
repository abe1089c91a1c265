/** Of a record, in the root's font size, so that it grows with the reader's; tokens.css has the same. */
const ROW_REM = 1.375;

/** In pixels, whole ones: fractions would add up over ten thousand rows. */
export function rowHeightPx(): number {
  return Math.round(ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize));
}
