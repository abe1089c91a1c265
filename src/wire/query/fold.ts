/** Returns a text in the form in which texts are compared ignoring case. */
export function fold(text: string): string {
  return text.normalize("NFC").toLowerCase();
}
