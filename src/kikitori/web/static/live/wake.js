/** Keeps the screen of a phone on while somebody speaks. */

let wanted = false;
let lock = null;

export async function stayAwake(awake) {
  wanted = awake;
  if (awake) return acquire();
  await lock?.release();
  lock = null;
}

async function acquire() {
  try {
    lock = await navigator.wakeLock?.request("screen");
  } catch {
    // the battery is low, or the page is not in sight: the screen may go dark
  }
}

document.addEventListener("visibilitychange", () => {
  if (wanted && document.visibilityState === "visible") acquire();
});
