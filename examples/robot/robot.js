// The robot's page: calls the robot, plots its telemetry, sends commands, and calls again when the connection breaks.

const SPAN = 500; // samples on display: ten seconds
const SILENCE = 3000; // milliseconds without a sample before the page calls again
const RETRY = 1000; // milliseconds between two attempts

const plot = document.getElementById("plot");
const target = document.getElementById("target");
const samples = []; // the last SPAN samples, oldest first
let pc = null;
let commands = null;
let newest = -1;
let count = 0;
let lost = 0;
let arrived = 0; // when the last sample arrived

async function call() {
  pc = new RTCPeerConnection();
  newest = -1;
  commands = pc.createDataChannel("commands"); // reliable and ordered, because every command counts
  // Unordered and never retransmitted, because a late sample is worth nothing.
  const telemetry = pc.createDataChannel("telemetry", { ordered: false, maxRetransmits: 0 });
  telemetry.addEventListener("message", ({ data }) => take(JSON.parse(data)));
  await pc.setLocalDescription();
  await gathered(pc);
  const response = await fetch("offer", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(pc.localDescription),
    signal: AbortSignal.timeout(10_000), // milliseconds in which the robot answers
  });
  if (!response.ok) throw new Error(`the robot refuses: ${response.status}`);
  await pc.setRemoteDescription(await response.json());
}

function gathered(connection) {
  return new Promise((resolve) => {
    const check = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", check);
    check();
  });
}

function take(sample) {
  arrived = performance.now();
  count += 1;
  if (sample.number < newest) return; // overtaken by a newer sample
  if (newest >= 0) lost += sample.number - newest - 1;
  newest = sample.number;
  samples.push(sample);
  if (samples.length > SPAN) samples.shift();
}

// One loop for the life of the page: call, watch, call again.
async function stayConnected() {
  for (;;) {
    arrived = performance.now();
    try {
      await call();
      while (performance.now() - arrived < SILENCE && !["failed", "closed"].includes(pc.connectionState)) await pause(100);
    } catch (error) {
      document.getElementById("state").value = `not connected (${error.message})`;
    }
    pc.close();
    await pause(RETRY);
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

target.addEventListener("input", () => {
  if (commands.readyState === "open") commands.send(JSON.stringify({ target: Number(target.value) }));
});

function draw() {
  const context = plot.getContext("2d");
  context.clearRect(0, 0, plot.width, plot.height);
  for (const [key, color] of [["target", "#999"], ["position", "#06c"]]) {
    context.strokeStyle = color;
    context.beginPath();
    samples.forEach((sample, index) => {
      context.lineTo((index * plot.width) / SPAN, ((1.5 - sample[key]) * plot.height) / 3);
    });
    context.stroke();
  }
  requestAnimationFrame(draw);
}

function show() {
  if (pc.connectionState !== "closed") document.getElementById("state").value = pc.connectionState;
  document.getElementById("count").value = count;
  document.getElementById("lost").value = lost;
  document.getElementById("position").value = samples.at(-1)?.position.toFixed(2) ?? "";
}

requestAnimationFrame(draw);
setInterval(show, 200);
stayConnected();
