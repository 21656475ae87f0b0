package sandbox

import (
	"embed"
	"errors"
	"net/http"
	"path"
	"strings"
)

// The console: a page, its styles and its scripts, as they are written.
//
//go:embed console
var consoleFiles embed.FS

// contentPolicy lets the console load what is its own, and nothing else: no
// inline script or style, no other origin, no frame around it.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// consoleTypes are the types of the console's files, which must not depend on
// what the machine takes them for.
var consoleTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// handleConsole adds the console's files to mux. At / it is a page for a
// browser, and index for others.
func handleConsole(mux *http.ServeMux, index string) {
	serve := func(w http.ResponseWriter, name string) {
		data, err := consoleFiles.ReadFile("console/" + name)
		if err != nil {
			fail(w, http.StatusNotFound, errors.New("the console has no such file"))
			return
		}
		w.Header().Set("Content-Type", consoleTypes[path.Ext(name)])
		w.Write(data) // an error is the client's loss
	}
	mux.HandleFunc("GET /console/{name}", func(w http.ResponseWriter, r *http.Request) { serve(w, r.PathValue("name")) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			serve(w, "index.html")
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte(index))
	})
}

// setHeaders sets what every answer of control has.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
