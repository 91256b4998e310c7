'use strict';
// The timeline of all operations: columns of numbers, decoded once, drawn on a
// canvas. Nothing is fetched; all of it stands in this page.
(() => {
  const $ = (id) => document.getElementById(id);
  const now = () => performance.now();
  const OUTCOMES = ['ok', 'fail', 'info'];

  const copy = $('copy');
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.onclick = () => navigator.clipboard.writeText($('cmd').textContent).then(() => {
      copy.textContent = 'Copied';
      setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
    }, () => { getSelection().selectAllChildren($('cmd')); });
  }
  if (!$('columns')) return;
  document.documentElement.classList.add('js');

  // ---- decoding

  const bytesOf = (text) => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const s = atob(text), b = new Uint8Array(s.length);
    for (let i = 0; i < s.length; i++) b[i] = s.charCodeAt(i);
    return b;
  };

  const inflate = async (bytes) => {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  // decode reads the columns in the order in which they were written.
  const decode = (b, m) => {
    const n = m.n;
    let p = 0;
    const uint = () => {
      let x = b[p++];
      if (x < 128) return x;
      x &= 127;
      let scale = 128;
      for (;;) {
        const y = b[p++];
        if (y < 128) return x + y * scale;
        x += (y & 127) * scale;
        scale *= 128;
      }
    };
    const column = (Type, next) => {
      const a = new Type(n);
      for (let i = 0; i < n; i++) a[i] = next(i);
      return a;
    };
    const pairs = [];
    const code = () => {
      const c = uint();
      if (c === 6) { const pair = [code(), code()]; pairs.push(pair); return -pairs.length; }
      return c;
    };
    let last = 0;
    const d = { n, pairs };
    d.inv = column(Float64Array, () => (last += uint()));
    d.done = column(Float64Array, (i) => { const x = uint(); return x === 0 ? Infinity : d.inv[i] + x - 1; });
    d.proc = column(Int32Array, uint);
    d.f = new Uint8Array(n);
    d.type = new Uint8Array(n);
    for (let i = 0; i < n; i++) { const x = uint(); d.f[i] = x >> 2; d.type[i] = x & 3; }
    d.key = column(Int32Array, uint);
    d.node = column(Uint16Array, uint);
    d.in = column(Float64Array, code);
    d.out = column(Float64Array, code);
    last = 0;
    d.idx = column(Int32Array, () => (last += uint()));
    d.ret = column(Int32Array, (i) => { const x = uint(); return x === 0 ? -1 : d.idx[i] + x; });
    last = 0;
    d.version = column(Float64Array, () => {
      const x = uint();
      if (x === 0) return 0;
      const z = x - 1, half = Math.floor(z / 2);
      return (last += z % 2 ? -half - 1 : half);
    });
    d.error = column(Int32Array, uint);
    d.seen = column(Float64Array, code);
    return d;
  };

  // ---- words

  // quote writes a string as the history does.
  const quote = (s) => JSON.stringify(s).replace(/[<>&\u2028\u2029]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

  const valueText = (d, m, c, nothing) => {
    if (c < 0) { const [a, b] = d.pairs[-c - 1]; return '[' + valueText(d, m, a, nothing) + ',' + valueText(d, m, b, nothing) + ']'; }
    if (c < 5) return ['', nothing || 'null', 'false', 'true', ''][c];
    const x = c - 5, kind = x % 4, rest = (x - kind) / 4;
    if (kind === 2) return m.others[rest];
    return String(rest % 2 ? -(rest + 1) / 2 : rest / 2);
  };

  const outCode = (d, i) => (d.out[i] === 4 ? d.in[i] : d.out[i]);

  // lines are the events of operation i as they stand in the history.
  const lines = (d, m, i) => {
    const head = (index, time, type) => `{"index":${index},"time":${time},"process":${d.proc[i]},"type":"${type}","f":${quote(m.fs[d.f[i]])}` +
      (m.keys[d.key[i]] !== '' ? `,"key":${quote(m.keys[d.key[i]])}` : '');
    const node = m.nodes[d.node[i]] !== '' ? `,"node":${quote(m.nodes[d.node[i]])}` : '';
    const out = [head(d.idx[i], d.inv[i], 'invoke') + `,"value":${valueText(d, m, d.in[i]) || 'null'}` + node + '}'];
    if (d.ret[i] >= 0) {
      out.push(head(d.ret[i], d.done[i], OUTCOMES[d.type[i]]) + `,"value":${valueText(d, m, outCode(d, i)) || 'null'}` +
        (d.seen[i] ? `,"observed":${valueText(d, m, d.seen[i])}` : '') + node +
        (d.version[i] ? `,"version":${d.version[i]}` : '') + (d.error[i] ? `,"error":${quote(m.errors[d.error[i]])}` : '') + '}');
    }
    return out;
  };

  const clip = (s, n) => (s.length > n ? s.slice(0, n - 1) + '…' : s);
  const digits = (x) => (x < 10 ? x.toFixed(2) : x < 100 ? x.toFixed(1) : x.toFixed(0)).replace(/\.?0+$/, (z) => (z.includes('.') ? '' : z));
  const span = (ns) => {
    if (!isFinite(ns)) return '?';
    if (ns < 1e3) return Math.round(ns) + ' ns';
    if (ns < 1e6) return digits(ns / 1e3) + ' µs';
    if (ns < 1e9) return digits(ns / 1e6) + ' ms';
    return digits(ns / 1e9) + ' s';
  };
  const moment = (ns) => (ns / 1e9).toFixed(ns % 1e6 === 0 ? 3 : 6) + ' s';

  const words = (d, m, i) => {
    const f = m.fs[d.f[i]], input = d.in[i] > 1 || d.in[i] < 0 ? ' ' + clip(valueText(d, m, d.in[i], 'nothing'), 40) : '';
    const o = outCode(d, i), t = d.type[i];
    const came = t === 1 ? 'failed' : t === 2 ? 'unknown' : o !== d.in[i] || o === 1 ? clip(valueText(d, m, o, 'nothing') || 'ok', 40) : 'ok';
    return f + input + ' → ' + came;
  };

  // ---- the viewer

  class Viewer {
    constructor(d, m) {
      this.d = d;
      this.m = m;
      this.canvas = $('ops');
      this.over = $('over');
      this.layer = document.createElement('canvas');
      this.begin = m.from;
      this.end = Math.max(m.length, m.from + 1);
      this.t0 = this.begin;
      this.t1 = this.end;
      this.rows = 'worker';
      this.filter = { f: m.fs.map(() => true), node: m.nodes.map(() => true), type: [true, true, true], key: '', process: '' };
      this.selected = -1;
      this.marked = new Uint8Array(d.n);
      for (const a of m.anomalies) for (const index of a.ops) { const i = this.find(index); if (i >= 0) this.marked[i] = 1; }
      this.buildTools();
      this.readColors();
      this.refilter();
      this.listen();
      this.resize();
    }

    // find is the operation whose invocation has an index, or -1.
    find(index) {
      const a = this.d.idx;
      let lo = 0, hi = a.length;
      while (lo < hi) { const mid = (lo + hi) >> 1; if (a[mid] < index) lo = mid + 1; else hi = mid; }
      return a[lo] === index ? lo : -1;
    }

    readColors() {
      const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const style = getComputedStyle(document.documentElement);
      this.css = {};
      this.rgb = {};
      for (const name of ['ok', 'fail', 'info', 'ink', 'soft', 'line', 'invalid', 'panel', 'f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7']) {
        const c = style.getPropertyValue('--' + name).trim();
        this.css[name] = c;
        probe.clearRect(0, 0, 1, 1);
        probe.fillStyle = c;
        probe.fillRect(0, 0, 1, 1);
        this.rgb[name] = probe.getImageData(0, 0, 1, 1).data;
      }
    }

    // ---- filters

    // group gives every operation the row it is drawn in.
    group() {
      const { d, m } = this, n = d.n, row = new Int32Array(n);
      if (this.rows === 'node') { row.set(d.node); this.names = m.nodes.map((s) => s || '–'); return row; }
      if (this.rows === 'key') { row.set(d.key); this.names = m.keys.map((s) => s || '–'); return row; }
      const c = m.concurrency, seen = new Map();
      this.names = [];
      for (let i = 0; i < n; i++) {
        const w = c > 0 ? d.proc[i] % c : d.proc[i];
        let r = seen.get(w);
        if (r === undefined) { r = seen.size; seen.set(w, r); }
        row[i] = r;
      }
      const workers = [...seen.keys()], order = workers.map((_, r) => r).sort((a, b) => workers[a] - workers[b]);
      const place = new Int32Array(order.length);
      order.forEach((r, at) => { place[r] = at; this.names[at] = 'p' + workers[r]; });
      for (let i = 0; i < n; i++) row[i] = place[row[i]];
      return row;
    }

    // refilter sorts what passes the filters by rows, in time.
    refilter() {
      const began = now(), { d, m, filter } = this, n = d.n;
      if (this.grouped !== this.rows) { this.row = this.group(); this.grouped = this.rows; }
      const keyPass = this.keyMask(), procs = this.processes();
      const bits = (list) => Uint8Array.from(list, Number), row = this.row;
      const fPass = bits(filter.f), nodePass = bits(filter.node), typePass = bits(filter.type), keys = keyPass && bits(keyPass);
      const { f, type, node, key, proc } = d;
      const count = new Int32Array(this.names.length + 1), pass = new Uint8Array(n);
      let total = 0;
      for (let i = 0; i < n; i++) {
        if ((fPass[f[i]] & typePass[type[i]] & nodePass[node[i]]) && (keys === null || keys[key[i]]) && (procs === null || this.inProcs(procs, proc[i]))) {
          pass[i] = 1;
          count[row[i]]++;
          total++;
        }
      }
      this.lanes = [];
      const lane = new Int32Array(this.names.length).fill(-1), start = [0];
      for (let r = 0; r < this.names.length; r++) {
        if (count[r] === 0) continue;
        lane[r] = this.lanes.length;
        this.lanes.push(r);
        start.push(start[start.length - 1] + count[r]);
      }
      this.start = start;
      const at = start.slice(), op = new Int32Array(total), inv = new Float64Array(total), end = new Float64Array(total), cls = new Uint8Array(total);
      const slow = this.slow = new Float64Array(this.lanes.length), next = Int32Array.from(at), begun = d.inv, done = d.done, last = this.end;
      for (let i = 0; i < n; i++) {
        if (!pass[i]) continue;
        const l = lane[row[i]], x = next[l]++, a = begun[i], b = done[i] < last ? done[i] : last;
        op[x] = i;
        inv[x] = a;
        end[x] = b;
        cls[x] = type[i];
        if (b - a > slow[l]) slow[l] = b - a;
      }
      Object.assign(this, { op, sinv: inv, send: end, cls, total });
      this.binned = null;
      this.draw();
      this.took = now() - began;
      const left = m.left ? ` (${m.left.toLocaleString('en')} more lie only in the history)` : '';
      $('status').textContent = `${total.toLocaleString('en')} of ${n.toLocaleString('en')} operations match${left}.`;
    }

    keyMask() {
      const want = this.filter.key.trim();
      if (want === '') return null;
      const parts = want.split(/[\s,]+/);
      return this.m.keys.map((k) => parts.some((p) => k === p || (p.endsWith('*') && k.startsWith(p.slice(0, -1)))));
    }

    processes() {
      const nums = this.filter.process.split(/[\s,]+/).filter((s) => /^\d+$/.test(s)).map(Number);
      return nums.length ? new Set(nums) : null;
    }

    // inProcs: a number names a process, and below the concurrency its worker.
    inProcs(set, p) {
      const c = this.m.concurrency;
      return set.has(p) || (c > 0 && p >= c && set.has(p % c));
    }

    // ---- drawing

    resize() {
      const ratio = Math.min(window.devicePixelRatio || 1, 2), w = this.canvas.clientWidth || 600;
      this.ratio = ratio;
      this.width = w;
      this.left = w < 480 ? 34 : 48;
      this.height = Math.max(120, Math.min(460, this.names.length * 26)) + 22;
      for (const [c, h] of [[this.canvas, this.height], [this.over, 34]]) {
        c.width = Math.round(w * ratio);
        c.height = Math.round(h * ratio);
        c.style.height = h + 'px';
      }
      this.binned = null;
      this.draw();
    }

    x(t) { return this.left + (t - this.t0) / (this.t1 - this.t0) * (this.width - this.left); }
    time(x) { return this.t0 + (x - this.left) / (this.width - this.left) * (this.t1 - this.t0); }

    draw() {
      if (!this.width) return;
      const began = now();
      const g = this.canvas.getContext('2d');
      g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      g.clearRect(0, 0, this.width, this.height);
      this.drawBands(g, (t) => this.x(t), this.left, this.height);
      const body = this.height - 22, rows = this.lanes.length;
      this.rowHeight = rows ? Math.min(40, body / rows) : body;
      const range = this.visible();
      if (range.count > 3000 || this.rowHeight < 5) this.drawDense(g, range, body);
      else this.drawBars(g, range);
      this.drawMarks(g, range);
      this.drawAxis(g, body);
      this.drawOverview();
      this.drawTook = now() - began;
    }

    // visible are the stretches of every row that may show in the view.
    visible() {
      const { start, sinv, slow, t0, t1 } = this, ranges = [];
      let count = 0;
      for (let l = 0; l < this.lanes.length; l++) {
        const a = lower(sinv, start[l], start[l + 1], t0 - slow[l]), b = lower(sinv, a, start[l + 1], t1);
        ranges.push(a, b);
        count += b - a;
      }
      return { ranges, count };
    }

    drawBands(g, x, left, height) {
      g.globalAlpha = 0.16;
      for (const f of this.m.faults) {
        const a = Math.max(left, x(f.start)), b = Math.min(this.width, x(f.end));
        if (b < left || a > this.width) continue;
        g.fillStyle = this.css['f' + f.color];
        g.fillRect(a, 0, Math.max(1, b - a), height);
      }
      g.globalAlpha = 1;
    }

    // drawDense paints pixels: each shows the worst outcome of what it covers.
    drawDense(g, range, body) {
      const ratio = this.ratio, w = Math.round((this.width - this.left) * ratio), h = Math.round(body * ratio), lanes = this.lanes.length;
      if (w <= 0 || h <= 0 || !lanes) return;
      if (this.layer.width !== w || this.layer.height !== h) { this.layer.width = w; this.layer.height = h; this.image = null; }
      const lg = this.layer.getContext('2d');
      if (!this.image) this.image = lg.createImageData(w, h);
      const px = new Uint32Array(this.image.data.buffer);
      px.fill(0);
      const color = OUTCOMES.map((o) => { const [r, gr, b] = this.rgb[o]; return [0x90, 0xff].map((a) => (a << 24 | b << 16 | gr << 8 | r) >>> 0); });
      const { sinv, send, cls, t0 } = this, scale = w / (this.t1 - t0), high = this.rowHeight * ratio;
      const worst = new Uint8Array(w), density = new Uint16Array(w), tall = Math.max(1, Math.floor(high) - (high > 4 ? Math.max(1, Math.round(high / 6)) : 0));
      for (let l = 0; l < lanes; l++) {
        worst.fill(0);
        density.fill(0);
        for (let i = range.ranges[2 * l], stop = range.ranges[2 * l + 1]; i < stop; i++) {
          const c = cls[i] + 1;
          let a = (sinv[i] - t0) * scale | 0, b = (send[i] - t0) * scale | 0;
          if (b < 0 || a >= w) continue;
          if (a < 0) a = 0;
          if (b >= w) b = w - 1;
          for (; a <= b; a++) { if (worst[a] < c) worst[a] = c; density[a]++; }
        }
        const y = Math.floor(l * high), bottom = Math.min(h, y + tall);
        for (let x = 0; x < w; x++) {
          if (!worst[x]) continue;
          const c = color[worst[x] - 1][density[x] > 1 ? 1 : 0];
          for (let v = y; v < bottom; v++) if (high >= 1 || px[v * w + x] === 0 || worst[x] > 1) px[v * w + x] = c;
        }
      }
      lg.putImageData(this.image, 0, 0);
      g.drawImage(this.layer, this.left, 0, this.width - this.left, body);
    }

    // drawBars draws single operations, with words where there is room.
    drawBars(g, range) {
      const { d, m, sinv, send, cls, op } = this, high = this.rowHeight, bar = Math.max(3, Math.min(20, high - 4));
      g.font = '11px ' + getComputedStyle(document.body).fontFamily;
      g.textBaseline = 'middle';
      for (let l = 0; l < this.lanes.length; l++) {
        const y = l * high + (high - bar) / 2;
        for (let k = range.ranges[2 * l]; k < range.ranges[2 * l + 1]; k++) {
          if (send[k] < this.t0) continue;
          const a = Math.max(this.left, this.x(sinv[k])), b = Math.min(this.width, Math.max(this.x(send[k]), this.x(sinv[k]) + 1.5));
          g.fillStyle = this.css[OUTCOMES[cls[k]]];
          g.globalAlpha = 0.38;
          g.fillRect(a, y, b - a, bar);
          g.globalAlpha = 1;
          if (b - a > 3) {
            g.strokeStyle = g.fillStyle;
            g.setLineDash(cls[k] === 2 ? [3, 3] : []);
            g.strokeRect(a + 0.5, y + 0.5, b - a - 1, bar - 1);
          }
          if (b - a > 44 && bar > 10) {
            g.save();
            g.beginPath();
            g.rect(a, y, b - a - 2, bar);
            g.clip();
            g.fillStyle = this.css.ink;
            g.fillText((this.rows === 'key' ? '' : m.keys[d.key[op[k]]] + ' ') + words(d, m, op[k]), a + 4, y + bar / 2 + 0.5);
            g.restore();
          }
        }
      }
      g.setLineDash([]);
    }

    // drawMarks frames the operations of anomalies and the chosen one.
    drawMarks(g, range) {
      const high = this.rowHeight, { op, sinv, send, marked } = this;
      if (!this.m.anomalies.length && this.selected < 0) return;
      for (let l = 0; l < this.lanes.length; l++) {
        for (let k = range.ranges[2 * l]; k < range.ranges[2 * l + 1]; k++) {
          const chosen = op[k] === this.selected;
          if (!marked[op[k]] && !chosen) continue;
          const a = Math.max(this.left, this.x(sinv[k])), b = Math.min(this.width, this.x(send[k]));
          if (b < this.left || a > this.width) continue;
          g.lineWidth = chosen ? 3 : 2;
          g.strokeStyle = chosen ? this.css.ink : this.css.invalid;
          g.strokeRect(a - 1, l * high + 0.5, Math.max(4, b - a + 2), Math.max(4, high - 1));
        }
      }
      g.lineWidth = 1;
    }

    drawAxis(g, body) {
      g.fillStyle = this.css.panel;
      g.fillRect(0, 0, this.left, this.height);
      g.fillRect(0, body, this.width, 22);
      g.font = '11px ' + getComputedStyle(document.body).fontFamily;
      g.textBaseline = 'middle';
      g.fillStyle = this.css.soft;
      const every = Math.max(1, Math.ceil(13 / this.rowHeight));
      for (let l = 0; l < this.lanes.length; l += every) g.fillText(clip(this.names[this.lanes[l]], 7), 4, l * this.rowHeight + this.rowHeight / 2, this.left - 6);
      g.strokeStyle = this.css.line;
      g.strokeRect(this.left + 0.5, -1, this.width, body + 1.5);
      const step = nice((this.t1 - this.t0) / Math.max(2, (this.width - this.left) / 110));
      for (let t = Math.ceil(this.t0 / step) * step; t <= this.t1; t += step) {
        const x = this.x(t);
        g.fillRect(x, body, 1, 4);
        const text = (t / 1e9).toFixed(Math.max(0, Math.min(9, -Math.floor(Math.log10(step / 1e9))))) + ' s';
        const width = g.measureText(text).width;
        if (x - width / 2 > this.left - 8 && x + width / 2 < this.width) g.fillText(text, x - width / 2, body + 13);
      }
    }

    drawOverview() {
      const g = this.over.getContext('2d'), h = 34, w = this.width, inner = w - this.left;
      if (!this.binned || this.binned.inner !== inner) this.binned = this.bin(Math.max(1, Math.floor(inner)));
      const { bins, most, n } = this.binned;
      g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      g.clearRect(0, 0, w, h);
      const x = (t) => this.left + (t - this.begin) / (this.end - this.begin) * inner;
      this.drawBands(g, x, this.left, h);
      for (let i = 0; i < n; i++) {
        let y = h;
        for (let o = 0; o < 3; o++) {
          const tall = bins[o * n + i] / most * (h - 6);
          if (!tall) continue;
          g.fillStyle = this.css[OUTCOMES[o]];
          g.globalAlpha = 0.75;
          g.fillRect(this.left + i, y - tall, 1, tall);
          y -= tall;
        }
      }
      g.globalAlpha = 1;
      g.fillStyle = this.css.invalid;
      for (const a of this.m.anomalies) {
        const i = a.ops.length ? this.find(a.ops[a.ops.length - 1]) : -1;
        if (i >= 0) g.fillRect(x(this.d.inv[i]) - 1, 0, 2, 7);
      }
      const a = x(this.t0), b = Math.max(a + 3, x(this.t1));
      g.fillStyle = this.css.panel;
      g.globalAlpha = 0.6;
      g.fillRect(this.left, 0, a - this.left, h);
      g.fillRect(b, 0, w - b, h);
      g.globalAlpha = 1;
      g.strokeStyle = this.css.soft;
      g.strokeRect(a + 0.5, 0.5, b - a - 1, h - 1);
    }

    bin(inner) {
      const n = inner, bins = new Float32Array(3 * n), { sinv, cls, total } = this, scale = n / (this.end - this.begin);
      for (let i = 0; i < total; i++) {
        let b = (sinv[i] - this.begin) * scale | 0;
        if (b >= n) b = n - 1;
        bins[cls[i] * n + b]++;
      }
      let most = 1;
      for (let i = 0; i < n; i++) most = Math.max(most, bins[i] + bins[n + i] + bins[2 * n + i]);
      return { bins, most, n, inner };
    }

    // ---- moving

    show(t0, t1) {
      const whole = this.end - this.begin, least = Math.min(whole, 1000);
      const width = Math.max(least, Math.min(whole, t1 - t0)), mid = (t0 + t1) / 2;
      this.t0 = Math.max(this.begin, Math.min(this.end - width, mid - width / 2));
      this.t1 = this.t0 + width;
      this.soon();
    }

    soon() {
      if (this.pending) return;
      this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); });
    }

    zoom(factor, t = (this.t0 + this.t1) / 2) {
      const width = Math.max(1000, Math.min(this.end - this.begin, (this.t1 - this.t0) * factor)), share = (t - this.t0) / (this.t1 - this.t0);
      this.show(t - share * width, t + (1 - share) * width);
    }

    pan(share) {
      const d = (this.t1 - this.t0) * share;
      this.show(this.t0 + d, this.t1 + d);
    }

    // under is the operation at a place of the canvas, or -1.
    under(x, y) {
      const l = Math.floor(y / this.rowHeight);
      if (l < 0 || l >= this.lanes.length || x < this.left) return -1;
      const t = this.time(x), slack = (this.t1 - this.t0) / (this.width - this.left) * 4;
      const stop = this.start[l + 1];
      let best = -1, near = slack;
      for (let k = lower(this.sinv, this.start[l], stop, t - this.slow[l] - slack); k < stop && this.sinv[k] <= t + slack; k++) {
        const away = t < this.sinv[k] ? this.sinv[k] - t : t > this.send[k] ? t - this.send[k] : 0;
        if (away < near || (away === 0 && near === 0)) { near = away; best = this.op[k]; }
      }
      return best;
    }

    choose(i, move) {
      this.selected = i;
      if (i < 0) { this.soon(); return; }
      const { d, m } = this;
      $('raw').textContent = lines(d, m, i).join('\n');
      if (move) {
        const end = isFinite(d.done[i]) ? d.done[i] : d.inv[i], wide = Math.max((end - d.inv[i]) * 12, 2e5);
        if (move === 'zoom' || d.inv[i] < this.t0 || end > this.t1) {
          const width = move === 'zoom' ? wide : this.t1 - this.t0;
          this.show((d.inv[i] + end) / 2 - width / 2, (d.inv[i] + end) / 2 + width / 2);
        }
      }
      this.soon();
    }

    // step goes to the next or previous operation that matches, in time.
    step(by) {
      const { d } = this;
      if (!this.sorted || this.sorted.of !== this.op) { const list = Int32Array.from(this.op).sort(); this.sorted = { of: this.op, list }; }
      const list = this.sorted.list;
      if (!list.length) return;
      let at = this.selected < 0 ? lower(d.inv, 0, d.n, this.t0) : this.selected;
      let k = lower(list, 0, list.length, at);
      if (this.selected >= 0 && list[k] === at) k += by; else if (by < 0) k--;
      this.choose(list[Math.max(0, Math.min(list.length - 1, k))], 'pan');
    }

    // open shows an operation that the page names elsewhere.
    open(index) {
      const i = this.find(index);
      if (i < 0) { $('raw').textContent = `Event ${index} is not among the operations in this page; it stands in the history.`; return; }
      if (!this.op.includes(i)) this.reset();
      this.choose(i, 'zoom');
    }

    // ---- hands

    buildTools() {
      const { m, filter } = this, box = $('tools');
      const toggles = (label, names, on) => {
        if (names.length < 2) return;
        const wrap = document.createElement('label');
        wrap.append(label);
        box.append(wrap);
        names.forEach((name, i) => {
          const b = document.createElement('button');
          b.type = 'button';
          b.textContent = name || '–';
          b.dataset.filter = label + ':' + name;
          b.setAttribute('aria-pressed', 'true');
          b.onclick = (e) => {
            if (e.shiftKey || e.altKey) { const only = on.every((x, j) => x === (j === i)); on.forEach((_, j) => { on[j] = only || j === i; }); } else on[i] = !on[i];
            [...box.querySelectorAll('button')].filter((x) => x.dataset.filter && x.dataset.filter.startsWith(label + ':')).forEach((x, j) => x.setAttribute('aria-pressed', on[j]));
            this.refilter();
          };
          b.title = 'Shift-click: only this';
          box.append(b);
        });
      };
      toggles('outcome', OUTCOMES, filter.type);
      toggles('kind', m.fs, filter.f);
      if (m.nodes.length <= 12) toggles('node', m.nodes, filter.node);
      const field = (label, name, hint) => {
        const wrap = document.createElement('label'), input = document.createElement('input');
        input.type = 'search';
        input.placeholder = hint;
        input.id = 'by-' + name;
        input.oninput = () => { filter[name] = input.value; this.refilter(); };
        wrap.append(label, input);
        box.append(wrap);
      };
      field('key', 'key', m.keys.length > 1 ? `${clip(m.keys[0] || '', 8)}, …` : 'key');
      field('process', 'process', '0, 1, …');
      const wrap = document.createElement('label'), select = document.createElement('select');
      for (const r of ['worker', 'node', 'key']) select.append(new Option('rows by ' + r, r));
      select.id = 'rows';
      select.onchange = () => { this.rows = select.value; this.refilter(); this.resize(); };
      wrap.append(select);
      box.append(wrap);
      const gap = document.createElement('span');
      gap.className = 'gap';
      box.append(gap);
      for (const [text, name, act] of [['−', 'Zoom out', () => this.zoom(2)], ['+', 'Zoom in', () => this.zoom(0.5)], ['◀', 'Earlier', () => this.pan(-0.5)], ['▶', 'Later', () => this.pan(0.5)], ['All', 'Show everything', () => this.reset()]]) {
        const b = document.createElement('button');
        b.type = 'button';
        b.textContent = text;
        b.setAttribute('aria-label', name);
        b.title = name;
        b.onclick = act;
        box.append(b);
      }
    }

    reset() {
      const { filter } = this;
      filter.key = filter.process = '';
      for (const on of [filter.f, filter.node, filter.type]) on.fill(true);
      $('tools').querySelectorAll('button[aria-pressed]').forEach((b) => b.setAttribute('aria-pressed', 'true'));
      $('tools').querySelectorAll('input').forEach((i) => { i.value = ''; });
      this.t0 = this.begin;
      this.t1 = this.end;
      this.refilter();
    }

    listen() {
      const c = this.canvas, at = (e) => { const r = c.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
      const touches = new Map();
      let drag = null, pinch = null;
      c.addEventListener('pointerdown', (e) => {
        touches.set(e.pointerId, at(e)[0]);
        c.setPointerCapture(e.pointerId);
        if (touches.size === 2) { const [a, b] = [...touches.values()]; pinch = { ta: this.time(a), tb: this.time(b) }; drag = null; return; }
        drag = { x: at(e)[0], y: at(e)[1], t0: this.t0, t1: this.t1, moved: false };
      });
      c.addEventListener('pointermove', (e) => {
        const [x, y] = at(e);
        if (touches.has(e.pointerId)) touches.set(e.pointerId, x);
        if (pinch && touches.size === 2) {
          const [a, b] = [...touches.values()], k = (pinch.tb - pinch.ta) / (b - a);
          if (isFinite(k) && k > 0) this.show(pinch.ta - (a - this.left) * k, pinch.ta + (this.width - a) * k);
          return;
        }
        if (drag) {
          if (Math.abs(x - drag.x) > 4) drag.moved = true;
          if (drag.moved) { const d = (drag.x - x) / (this.width - this.left) * (drag.t1 - drag.t0); this.show(drag.t0 + d, drag.t1 + d); }
          return;
        }
        this.hover(x, y);
      });
      const up = (e) => {
        touches.delete(e.pointerId);
        if (touches.size < 2) pinch = null;
        if (drag && !drag.moved) this.choose(this.under(...at(e)));
        drag = null;
      };
      c.addEventListener('pointerup', up);
      c.addEventListener('pointercancel', (e) => { touches.delete(e.pointerId); drag = pinch = null; });
      c.addEventListener('pointerleave', () => { $('tip').hidden = true; });
      c.addEventListener('dblclick', (e) => this.zoom(e.shiftKey ? 4 : 0.25, this.time(at(e)[0])));
      c.addEventListener('wheel', (e) => {
        // A plain wheel scrolls the page until the timeline has the focus.
        if (!e.ctrlKey && !e.metaKey && document.activeElement !== c) return;
        e.preventDefault();
        if (Math.abs(e.deltaX) > Math.abs(e.deltaY) || e.shiftKey) this.pan((e.deltaX || e.deltaY) / 800);
        else this.zoom(Math.exp(e.deltaY / 300), this.time(at(e)[0]));
      }, { passive: false });
      c.addEventListener('keydown', (e) => {
        const keys = {
          ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2), '+': () => this.zoom(0.5), '=': () => this.zoom(0.5), '-': () => this.zoom(2),
          0: () => this.show(this.begin, this.end), Home: () => this.show(this.begin, this.begin + this.t1 - this.t0), End: () => this.show(this.end - (this.t1 - this.t0), this.end),
          n: () => this.step(1), p: () => this.step(-1), Escape: () => { this.choose(-1); c.blur(); },
        };
        const act = keys[e.key];
        if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
        e.preventDefault();
        act();
      });
      const move = (e) => {
        const r = this.over.getBoundingClientRect(), t = this.begin + (e.clientX - r.left - this.left) / (this.width - this.left) * (this.end - this.begin);
        const half = (this.t1 - this.t0) / 2;
        this.show(t - half, t + half);
      };
      this.over.addEventListener('pointerdown', (e) => { this.over.setPointerCapture(e.pointerId); move(e); });
      this.over.addEventListener('pointermove', (e) => { if (e.buttons) move(e); });
      new ResizeObserver(() => { if (c.clientWidth && c.clientWidth !== this.width) this.resize(); }).observe(c.parentElement);
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { this.readColors(); this.draw(); });
      document.addEventListener('click', (e) => {
        const link = e.target.closest && e.target.closest('a[data-op]');
        if (link) { e.preventDefault(); history.replaceState(null, '', link.getAttribute('href')); this.jump(); }
      });
      window.addEventListener('hashchange', () => this.jump());
    }

    jump() {
      const found = /^#op-(\d+)$/.exec(location.hash);
      if (!found) return;
      this.open(Number(found[1]));
      $('operations').scrollIntoView({ block: 'start' });
      this.canvas.focus({ preventScroll: true });
    }

    hover(x, y) {
      const tip = $('tip'), i = this.under(x, y);
      tip.hidden = i < 0;
      if (i < 0) return;
      const { d, m } = this, key = m.keys[d.key[i]], node = m.nodes[d.node[i]];
      tip.textContent = `${key ? key + ': ' : ''}${words(d, m, i)} · process ${d.proc[i]}${node ? ' at ' + node : ''} · ${moment(d.inv[i])}, took ${span(d.done[i] - d.inv[i])}` + (d.error[i] ? ' · ' + clip(m.errors[d.error[i]], 120) : '');
      const r = this.canvas.parentElement.getBoundingClientRect(), top = this.over.offsetHeight + y + 16;
      tip.style.top = top + 'px';
      tip.style.left = Math.max(4, Math.min(x + 10, r.width - tip.offsetWidth - 6)) + 'px';
      if (top + tip.offsetHeight > r.height) tip.style.top = Math.max(0, top - tip.offsetHeight - 26) + 'px';
    }
  }

  // lower is the first place in [a, b) of a sorted array whose value is at least v.
  const lower = (array, a, b, v) => {
    while (a < b) { const mid = (a + b) >> 1; if (array[mid] < v) a = mid + 1; else b = mid; }
    return a;
  };

  const nice = (x) => {
    const p = 10 ** Math.floor(Math.log10(x));
    for (const k of [1, 2, 5, 10]) if (k * p >= x) return k * p;
    return 10 * p;
  };

  const start = async () => {
    try {
      if (typeof DecompressionStream === 'undefined') throw new Error('this browser is too old to unpack the operations');
      const m = JSON.parse($('meta').textContent), node = $('columns');
      const bytes = bytesOf(node.textContent);
      node.textContent = ''; // the text is no longer needed
      const v = new Viewer(decode(await inflate(bytes), m), m);
      window.faultline = { viewer: v, lines: (i) => lines(v.d, v.m, i), ready: now() };
      v.jump();
    } catch (e) {
      $('viewer').textContent = 'The timeline cannot be shown: ' + e.message;
    }
  };
  requestAnimationFrame(() => setTimeout(start, 0));
})();
