// COCO's compressed run lengths: five bits a character, columns first, zeros first;
// from the third on a number is the difference to the one before the last.

export function decodeCounts(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let shift = 0;
    let code;
    do {
      code = text.charCodeAt(at) - 48;
      value |= (code & 31) << shift;
      shift += 5;
      at += 1;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

export function paint(pixels, { size: [height, width], counts }, colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  let place = 0;
  decodeCounts(counts).forEach((length, number) => {
    const end = place + length;
    if (number % 2) {
      for (; place < end; place += 1) {
        const column = Math.floor(place / height);
        const at = 4 * ((place - column * height) * width + column);
        pixels[at] = red;
        pixels[at + 1] = green;
        pixels[at + 2] = blue;
        pixels[at + 3] = 255;
      }
    }
    place = end;
  });
}
