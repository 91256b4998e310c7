// Package serve is the web page on which runs are browsed, searched, compared and
// judged again. It reads what may come from anywhere: every value is escaped, no
// path leaves the folder of runs, and a run's own page runs in a sandbox.
package serve

import (
	"bytes"
	"context"
	_ "embed" // the pages
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

//go:embed assets/pages.html.tmpl
var pages string

//go:embed assets/serve.css
var style string

// Options shape the server.
type Options struct {
	// Write lets visitors change runs: write a run's reports again.
	Write bool
	// Recheck judges a run with another model or engine; nil where that cannot be
	// done. Models are the names it takes.
	Recheck func(ctx context.Context, run *reports.Folder, model, engine string) (reports.Results, error)
	Models  []string
	// Hosts are the names under which visitors may come, besides addresses and
	// localhost; others are refused, so that no foreign page can reach in.
	Hosts []string
	Log   *slog.Logger
}

// Server is an http.Handler over a folder of runs.
type Server struct {
	o     Options
	dir   string
	root  *os.Root
	runs  *index
	pages *template.Template
	mux   *http.ServeMux
	// busy admits one re-check at a time: they may take all the memory there is.
	busy chan struct{}
}

// New serves the runs in dir. The caller closes the server.
func New(dir string, o Options) (*Server, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("serve: cannot open the runs folder %s: %w", dir, err)
	}
	t, err := template.New("pages").Funcs(functions()).Parse(pages)
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("serve: the pages' template: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, dir: dir, root: root, runs: newIndex(root), pages: t, busy: make(chan struct{}, 1)}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /{$}", s.list)
	s.mux.HandleFunc("GET /trends", s.trends)
	s.mux.HandleFunc("GET /compare", s.compare)
	s.mux.HandleFunc("GET /style.css", s.css)
	s.mux.HandleFunc("GET /runs/{run}/{$}", s.run)
	s.mux.HandleFunc("GET /runs/{run}/download.zip", s.download)
	s.mux.HandleFunc("POST /runs/{run}/check", s.recheck)
	s.mux.HandleFunc("POST /runs/{run}/report", s.report)
	s.mux.HandleFunc("GET /runs/{run}/{file...}", s.file)
	return s, nil
}

// Close lets go of the folder.
func (s *Server) Close() error { return s.root.Close() }

// ServeHTTP refuses foreign hosts and origins, sets the headers that keep pages
// apart, and answers.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	if !s.welcome(r.Host) {
		s.fail(w, http.StatusForbidden, fmt.Errorf("this server does not answer to the name %q; start it with --host to allow it", r.Host))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		s.fail(w, http.StatusForbidden, errors.New("another site sent this request; use this server's own pages"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// welcome says whether a request may name this host: an address, localhost, or
// one that was allowed. A name that only points here is DNS rebinding.
func (s *Server) welcome(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if host == "localhost" || net.ParseIP(host) != nil {
		return true
	}
	for _, h := range s.o.Hosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	o, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && o.Host != "" && o.Host == r.Host
}

func (s *Server) css(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = io.WriteString(w, reports.Style()+style) // a visitor who went away
}

// show fills a page; one that cannot be filled is an error, not half a page.
func (s *Server) show(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a visitor who went away
}

func (s *Server) fail(w http.ResponseWriter, code int, err error) {
	if code >= http.StatusInternalServerError {
		s.o.Log.Warn("a page failed", "error", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_ = s.pages.ExecuteTemplate(w, "error", map[string]any{"Title": http.StatusText(code), "Error": err.Error()})
}

// missing answers for a run or file that is not there.
func (s *Server) missing(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "escapes from parent") {
		code, err = http.StatusNotFound, errors.New("there is no such run or file")
	}
	s.fail(w, code, err)
}

// one finds a run by the name in the request.
func (s *Server) one(r *http.Request) (*entry, error) {
	name := r.PathValue("run")
	if !plainName(name) {
		return nil, fs.ErrNotExist
	}
	return s.runs.get(name)
}

// plainName says whether a name is that of a folder right here.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\x00")
}

func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	e, err := s.one(r)
	if err != nil {
		s.missing(w, err)
		return
	}
	s.show(w, "run", s.runPage(e, nil))
}

// runPage is what a run's page shows; checked is a fresh judgement, or nil.
func (s *Server) runPage(e *entry, checked *reports.Results) map[string]any {
	files, err := s.files(e.Name)
	page := map[string]any{
		"Title": e.Name, "E": e, "Files": files, "Write": s.o.Write, "Models": s.o.Models, "CanCheck": s.o.Recheck != nil, "Checked": checked,
	}
	if err != nil {
		page["Error"] = err.Error()
	}
	if e.Err == nil {
		page["Sentence"] = reports.Sentence(e.Results)
	}
	if checked != nil {
		page["CheckedSentence"] = reports.Sentence(*checked)
	}
	return page
}

const recheckLimit = 10 * time.Minute

func (s *Server) recheck(w http.ResponseWriter, r *http.Request) {
	e, err := s.one(r)
	if err != nil {
		s.missing(w, err)
		return
	}
	if s.o.Recheck == nil {
		s.fail(w, http.StatusNotImplemented, errors.New("this server cannot check"))
		return
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		s.fail(w, http.StatusTooManyRequests, errors.New("another check is running; try again when it is done"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	ctx, cancel := context.WithTimeout(r.Context(), recheckLimit)
	defer cancel()
	f, err := s.folder(e.Name)
	if err != nil {
		s.missing(w, err)
		return
	}
	res, err := s.o.Recheck(ctx, f, r.FormValue("model"), r.FormValue("engine"))
	if err != nil {
		s.fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	s.show(w, "run", s.runPage(e, &res))
}

// folder opens a run for what needs a path. The root has vouched for the name;
// a link that leads out of the root is refused.
func (s *Server) folder(name string) (*reports.Folder, error) {
	f, err := s.root.Open(path.Join(name, reports.HistoryFile))
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	return reports.Open(path.Join(s.dir, name))
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	e, err := s.one(r)
	if err != nil {
		s.missing(w, err)
		return
	}
	if !s.o.Write {
		s.fail(w, http.StatusForbidden, errors.New("this server only reads; start it with --write to change runs"))
		return
	}
	f, err := s.folder(e.Name)
	if err == nil {
		err = reports.Render(f)
	}
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	http.Redirect(w, r, "/runs/"+url.PathEscape(e.Name)+"/", http.StatusSeeOther)
}

func (s *Server) compare(w http.ResponseWriter, r *http.Request) {
	var groups []reports.Group
	for i, name := range r.URL.Query()["run"] {
		if i == maxCompare {
			s.fail(w, http.StatusBadRequest, fmt.Errorf("at most %d runs can be compared", maxCompare))
			return
		}
		if !plainName(name) {
			s.missing(w, fs.ErrNotExist)
			return
		}
		e, err := s.runs.get(name)
		if err != nil {
			s.missing(w, err)
			return
		}
		if e.Err != nil {
			s.fail(w, http.StatusUnprocessableEntity, fmt.Errorf("%s: %w", name, e.Err))
			return
		}
		groups = append(groups, reports.Group{Name: name, Runs: []reports.Results{e.Results}, Link: "/runs/" + url.PathEscape(name) + "/"})
	}
	if len(groups) == 0 {
		s.fail(w, http.StatusBadRequest, errors.New("choose the runs to compare in the list of runs"))
		return
	}
	var b bytes.Buffer
	if err := reports.WriteCompareHTML(&b, "Comparison", reports.Compare(groups), nil); err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a visitor who went away
}

const maxCompare = 24
