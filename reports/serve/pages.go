package serve

import (
	"archive/zip"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

const (
	pageSize  = 200
	maxFiles  = 500
	trendRuns = 40 // shown of a kind
)

func functions() template.FuncMap {
	return template.FuncMap{
		"when":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"percent":  func(f float64) string { return strconv.FormatFloat(100*f, 'f', 1, 64) + " %" },
		"verdicts": func() []string { return []string{"valid", "invalid", "unknown", "not tested", "broken"} },
		"join":     func(s []string) string { return strings.Join(s, ", ") },
		"class": func(verdict string) string {
			switch verdict {
			case "valid", "invalid", "unknown":
				return verdict
			}
			return "unknown"
		},
		"anomalies": func(r reports.Results) string {
			var s []string
			counts := r.AnomalyCounts()
			for _, n := range slices.Sorted(maps.Keys(counts)) {
				s = append(s, n+" × "+strconv.Itoa(counts[n]))
			}
			return strings.Join(s, ", ")
		},
	}
}

func queryOf(v url.Values) query {
	q := query{Text: v.Get("q"), Verdict: v.Get("verdict"), Sort: v.Get("sort"), Down: v.Get("down") == "1"}
	if q.Sort == "" {
		q.Sort, q.Down = "started", true
	}
	q.Page, _ = strconv.Atoi(v.Get("page"))
	q.Page = max(0, q.Page)
	return q
}

// link is the address of the same list in another order or on another page.
func (q query) link(sort string, page int) string {
	v := url.Values{}
	down := q.Down
	if sort == "" {
		sort = q.Sort
	} else {
		down = sort == q.Sort && !q.Down
	}
	v.Set("sort", sort)
	if down {
		v.Set("down", "1")
	}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.Verdict != "" {
		v.Set("verdict", q.Verdict)
	}
	if page > 0 {
		v.Set("page", strconv.Itoa(page))
	}
	return "/?" + v.Encode()
}

type listColumn struct{ Name, Link, Order string }

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	all, err := s.runs.all()
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	q := queryOf(r.URL.Query())
	runs := q.of(all)
	total := len(runs)
	from := min(q.Page*pageSize, total)
	runs = runs[from:min(from+pageSize, total)]
	page := map[string]any{"Title": "Runs", "Q": q, "Runs": runs, "Total": total, "All": len(all), "Columns": columnsOf(q)}
	if q.Page > 0 {
		page["Newer"] = q.link("", q.Page-1)
	}
	if from+pageSize < total {
		page["Older"] = q.link("", q.Page+1)
	}
	s.show(w, "list", page)
}

func columnsOf(q query) []listColumn {
	var columns []listColumn
	for _, name := range []string{"verdict", "system", "workload", "anomalies", "operations", "succeeded", "started"} {
		c := listColumn{Name: name, Link: q.link(name, 0)}
		if name == q.Sort {
			c.Order = "ascending"
			if q.Down {
				c.Order = "descending"
			}
		}
		columns = append(columns, c)
	}
	return columns
}

// files are those of a run that may be looked at, by paths within it.
func (s *Server) files(run string) ([]string, error) {
	var files []string
	for _, name := range []string{reports.IndexFile, reports.SummaryFile, reports.ResultsFile, reports.TestFile, reports.PlanFile, reports.HistoryFile, reports.JUnitFile} {
		if _, err := s.root.Stat(path.Join(run, name)); err == nil {
			files = append(files, name)
		}
	}
	sub, err := fs.Sub(s.root.FS(), run)
	if err != nil {
		return files, err
	}
	logs, err := fs.Glob(sub, reports.NodesDir+"/*/*.log")
	return append(files, logs[:min(len(logs), maxFiles)]...), err
}

// allowed says whether a path within a run is one of its files.
func allowed(file string) bool {
	if path.Clean(file) != file || strings.ContainsAny(file, "\\\x00") {
		return false
	}
	parts := strings.Split(file, "/")
	switch len(parts) {
	case 1:
		return slices.Contains([]string{reports.IndexFile, reports.SummaryFile, reports.ResultsFile, reports.TestFile, reports.PlanFile, reports.HistoryFile, reports.JUnitFile}, file)
	case 3:
		return parts[0] == reports.NodesDir && plainName(parts[1]) && plainName(parts[2]) && strings.HasSuffix(parts[2], ".log")
	}
	return false
}

// file serves one file of a run. Only its page is HTML, and that runs in a
// sandbox of its own: what it says may come from anywhere.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	run, name := r.PathValue("run"), r.PathValue("file")
	if !plainName(run) || !allowed(name) {
		s.missing(w, fs.ErrNotExist)
		return
	}
	f, err := s.root.Open(path.Join(run, name))
	if err != nil {
		s.missing(w, err)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		s.missing(w, fs.ErrNotExist)
		return
	}
	h := w.Header()
	switch path.Ext(name) {
	case ".html":
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	case ".json":
		h.Set("Content-Type", "application/json")
	default:
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	http.ServeContent(w, r, "", fi.ModTime(), f)
}

// download packs a run's files as they stream out.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	e, err := s.one(r)
	if err != nil {
		s.missing(w, err)
		return
	}
	files, err := s.files(e.Name)
	if err != nil {
		s.missing(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="`+template.URLQueryEscaper(e.Name)+`.zip"`)
	z := zip.NewWriter(w)
	for _, name := range files {
		if err := s.pack(z, e.Name, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.o.Log.Warn("a download broke off", "run", e.Name, "error", err)
			return
		}
	}
	_ = z.Close() // a visitor who went away
}

func (s *Server) pack(z *zip.Writer, run, name string) error {
	f, err := s.root.Open(path.Join(run, name))
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := z.Create(path.Join(run, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return err
}
