// Shares and their intervals, as in cellrot_infer/intervals.py.
const Z_95 = 1.959963984540054;

function halfWidth(share, total) {
  const spread = Z_95 ** 2 / total;
  const variance = (share * (1 - share)) / total + spread / (4 * total);
  return (Z_95 * Math.sqrt(variance)) / (1 + spread);
}

function wilson(count, total) {
  if (total === 0) return [0, 1];
  const share = count / total;
  const spread = Z_95 ** 2 / total;
  const centre = (share + spread / 2) / (1 + spread);
  const half = halfWidth(share, total);
  return [count === 0 ? 0 : centre - half, count === total ? 1 : centre + half];
}

function furtherCells(count, total, half) {
  const share = total ? count / total : 0.5;
  if (total && halfWidth(share, total) <= half) return 0;
  let low = Math.max(total, 1);
  let high = low;
  while (halfWidth(share, high) > half) [low, high] = [high, 2 * high];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (halfWidth(share, middle) > half) low = middle;
    else high = middle;
  }
  return high - total;
}

function odds(share) {
  return share < 1 ? share / (1 - share) : Infinity;
}
