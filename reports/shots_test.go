package reports

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/goregular"
)

const (
	// A golden picture is kept at an eighth of its size, in which how a browser
	// smooths its letters is gone.
	shotScale = 8
	// shotTolerance is how much a picture may differ from its golden: the mean over
	// all pixels of the shrunken pictures, of 255 shades. A paragraph more is 10.
	shotTolerance = 3.0
)

type look struct {
	name          string
	width, height int64
	scheme        string
}

func looks() []look {
	return []look{
		{"desktop-light", 1280, 900, "light"},
		{"desktop-dark", 1280, 900, "dark"},
		{"phone-light", 390, 844, "light"},
		{"phone-dark", 390, 844, "dark"},
	}
}

// TestFirstScreensLookAsTheyDid compares what one sees first of the page of each
// situation with a golden. FAULTLINE_SHOTS names a folder for whole pictures to
// look at.
func TestFirstScreensLookAsTheyDid(t *testing.T) {
	ctx := browser(t)
	dir := os.Getenv("FAULTLINE_SHOTS")
	for name, shape := range situations() {
		f := synthFolder(t, 1000, shape)
		if err := Render(f); err != nil {
			t.Fatal(err)
		}
		load(t, ctx, "file://"+filepath.Join(f.Path, IndexFile))
		sameFonts(t, ctx)
		for _, l := range looks() {
			compareShot(t, name+"-"+l.name, shot(t, ctx, l, chromedp.CaptureScreenshot()))
			tellsAtOnce(t, ctx, name+" "+l.name)
			if dir == "" {
				continue
			}
			whole := shot(t, ctx, l, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(dir, name+"-"+l.name+".png"), whole, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tellsAtOnce holds the page to what the first screen alone must tell: the
// verdict's sentence, what happened, and why it is the store, or what the verdict
// means; and that nothing is wider than the screen.
func tellsAtOnce(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	missing := eval[[]string](t, ctx, `(() => {
		const found = ['h1', '.lead', '.reading'].filter(q => document.querySelector(q)).map(q => [q, document.querySelector(q).getBoundingClientRect()]);
		const out = found.filter(([, r]) => r.top < 0 || r.bottom > innerHeight || r.height === 0).map(([q]) => q + ' is not on the first screen');
		if (document.documentElement.scrollWidth > innerWidth) out.push('the page is wider than the screen');
		return out;
	})()`)
	for _, m := range missing {
		t.Errorf("%s: %s", name, m)
	}
}

// TestPicturesTellPagesApart: the tolerance is not so wide that any page passes.
func TestPicturesTellPagesApart(t *testing.T) {
	t.Parallel()
	for _, l := range looks() {
		a, b := goldenShot(t, "lost-write-"+l.name), goldenShot(t, "causal-violation-"+l.name)
		if d := difference(a, b); d < 2*shotTolerance {
			t.Errorf("%s: two situations differ by %.1f of 255", l.name, d)
		}
	}
}

func goldenShot(t *testing.T, name string) image.Image {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "shots", name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// sameFonts gives the page fonts that are the same on every machine.
func sameFonts(tb testing.TB, ctx context.Context) {
	tb.Helper()
	for _, f := range []struct {
		family, weight string
		ttf            []byte
	}{{"shot-sans", "400", goregular.TTF}, {"shot-sans", "700", gobold.TTF}, {"shot-mono", "400", gomono.TTF}} {
		eval[bool](tb, ctx, fmt.Sprintf(`(async () => {
			const font = new FontFace(%q, Uint8Array.from(atob(%q), c => c.charCodeAt(0)), {weight: %q});
			document.fonts.add(await font.load());
			return true;
		})()`, f.family, base64.StdEncoding.EncodeToString(f.ttf), f.weight))
	}
	eval[bool](tb, ctx, `(async () => {
		const style = document.documentElement.style;
		style.setProperty('--sans', 'shot-sans');
		style.setProperty('--mono', 'shot-mono');
		await document.fonts.ready;
		return true;
	})()`)
}

// shot is a picture of the open page with another look.
func shot(tb testing.TB, ctx context.Context, l look, take chromedp.Action[[]byte]) []byte {
	tb.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(l.width, l.height)); err != nil {
		tb.Fatal(err)
	}
	call(tb, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
	})
	settle(tb, ctx)
	b, err := chromedp.Run(ctx, take)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// settle waits until what changed has been drawn.
func settle(tb testing.TB, ctx context.Context) {
	tb.Helper()
	eval[bool](tb, ctx, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

func compareShot(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "shots", name+".png")
	small := shrink(t, got)
	if *update {
		var b bytes.Buffer
		if err := png.Encode(&b, small); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := goldenShot(t, name)
	if want.Bounds() != small.Bounds() {
		t.Fatalf("%s is %v, the page %v", path, want.Bounds(), small.Bounds())
	}
	if d := difference(want, small); d > shotTolerance {
		t.Errorf("%s: the page differs by %.1f of 255, at most %.1f are allowed; run with -update and look", path, d, shotTolerance)
	}
}

// shrink averages blocks of shotScale × shotScale pixels.
func shrink(t *testing.T, b []byte) *image.RGBA {
	t.Helper()
	big, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r := big.Bounds()
	small := image.NewRGBA(image.Rect(0, 0, r.Dx()/shotScale, r.Dy()/shotScale))
	for y := range small.Rect.Dy() {
		for x := range small.Rect.Dx() {
			var sum [3]uint32
			for i := range shotScale * shotScale {
				cr, cg, cb, _ := big.At(r.Min.X+x*shotScale+i%shotScale, r.Min.Y+y*shotScale+i/shotScale).RGBA()
				sum[0], sum[1], sum[2] = sum[0]+cr>>8, sum[1]+cg>>8, sum[2]+cb>>8
			}
			n := uint32(shotScale * shotScale)
			small.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
		}
	}
	return small
}

func difference(a, b image.Image) float64 {
	sum, n := 0.0, 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r1, g1, b1, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			for _, d := range [3]int{int(r1>>8) - int(r2>>8), int(g1>>8) - int(g2>>8), int(b1>>8) - int(b2>>8)} {
				sum += float64(max(d, -d))
				n++
			}
		}
	}
	return sum / float64(n)
}

// TestHostilePageRunsNothing opens a page made of hostile values: nothing of them
// runs, asks for anything or breaks the viewer.
func TestHostilePageRunsNothing(t *testing.T) {
	ctx := browser(t)
	f := synthFolder(t, 100, hostile)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	url := "file://" + filepath.Join(f.Path, IndexFile)
	w := &watch{}
	w.listen(t, ctx, url)
	w.enable(t, ctx)
	load(t, ctx, url)
	if ran := eval[bool](t, ctx, `Boolean(window.hostileRan)`); ran {
		t.Error("a value ran as script")
	}
	if n := eval[int](t, ctx, `document.querySelectorAll('img').length`); n != 0 {
		t.Errorf("%d values became pictures", n)
	}
	text := eval[string](t, ctx, `(() => { const v = window.faultline.viewer; v.choose(0); v.hover(v.left + 5, 5); return document.getElementById('raw').textContent; })()`)
	if text == "" {
		t.Error("no raw events")
	}
	w.check(t)
}

// TestKeyboard: the timeline can be read without a mouse.
func TestKeyboard(t *testing.T) {
	ctx := browser(t)
	f := synthFolder(t, 1000, staleRead)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	load(t, ctx, "file://"+filepath.Join(f.Path, IndexFile))
	key := func(k string) string {
		return fmt.Sprintf(`document.getElementById('ops').dispatchEvent(new KeyboardEvent('keydown', {key: %q, cancelable: true}));`, k)
	}
	before := eval[float64](t, ctx, `window.faultline.viewer.t1 - window.faultline.viewer.t0`)
	after := eval[float64](t, ctx, key("+")+key("+")+key("ArrowRight")+`window.faultline.viewer.t1 - window.faultline.viewer.t0`)
	if after > before/3.9 {
		t.Errorf("two zooms turned %v into %v", before, after)
	}
	raw := eval[string](t, ctx, key("n")+key("n")+`document.getElementById('raw').textContent`)
	if !bytes.Contains([]byte(raw), []byte(`"type":"invoke"`)) {
		t.Errorf("the chosen operation reads %q", raw)
	}
	unlinked := eval[int](t, ctx, `[...document.querySelectorAll('a[data-op]')].filter(a => { a.click(); return !document.getElementById('raw').textContent.includes('"index":' + a.dataset.op + ','); }).length`)
	if unlinked != 0 {
		t.Errorf("%d links of operations open something else", unlinked)
	}
	linked := eval[string](t, ctx, `document.querySelector('a[data-op]').click(); document.getElementById('raw').textContent`)
	if !bytes.Contains([]byte(linked), []byte(`"process":1001`)) {
		t.Errorf("the link of an anomaly opens %q", linked)
	}
}

// TestReadableWithoutScriptAndOnPaper: verdict, anomalies and figures need no
// JavaScript, and paper gets all of that and nothing that it cannot use.
func TestReadableWithoutScriptAndOnPaper(t *testing.T) {
	ctx := browser(t)
	f := synthFolder(t, 1000, staleRead)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	call(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+filepath.Join(f.Path, IndexFile))); err != nil {
		t.Fatal(err)
	}
	const seen = `(() => {
		const shown = q => [...document.querySelectorAll(q)].some(e => e.checkVisibility() && e.getBoundingClientRect().height > 0);
		return [typeof window.faultline, ...['h1', '.lead', '.reading', '.drawing svg', '#faults table', '.plot', '.ladder', '#checks table', '#viewer', 'nav', 'noscript p'].map(shown)].join(' ');
	})()`
	if got, want := eval[string](t, ctx, seen), "undefined true true true true true true true true false true true"; got != want {
		t.Errorf("without script: got %s, want %s", got, want)
	}
	call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	if got, want := eval[string](t, ctx, seen), "undefined true true true true true true true true false false false"; got != want {
		t.Errorf("on paper: got %s, want %s", got, want)
	}
}
