package topic

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigpanda-udf/udf"
)

// readKey reads a handler file that holds an app key and nothing else. One that says
// "bad" is wrong.
func readKey(path string) (udf.Defaults, error) {
	text, err := os.ReadFile(path)
	if err == nil && (len(text) == 0 || strings.HasPrefix(string(text), "bad")) {
		err = errors.New("handler file: " + string(text))
	}
	return udf.Defaults{AppKey: string(text)}, err
}

// put writes a file as an editor does, in one step.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o600), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
}

func startFolder(t *testing.T) (r *rig, dir string) {
	t.Helper()
	dir = t.TempDir()
	return startServer(t, func(o *Options, _ *times) { o.Dir, o.Read = dir, readKey }), dir
}

// holds waits until a handler has an app key, "" for that of the settings.
func (r *rig) holds(name, key string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s has the key %q", name, key), func() bool {
		d := r.server.folder.of(name)
		return d == nil && key == "" || d != nil && d.AppKey == key
	})
}

// An editor keeps its own files beside the one that it edits.
func TestFilesOfEditors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"cpu.yaml", ".#cpu.yaml", ".cpu.yaml.swp", "cpu.yaml~"} {
		put(t, filepath.Join(dir, name), "key")
	}
	files, err := Files(dir)
	if err != nil || len(files) != 1 || files[0].Name != "cpu" || files[0].Err != nil {
		t.Errorf("%v, %v", files, err)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	r, dir := startFolder(t)
	cpu := filepath.Join(dir, "cpu.yaml")
	says := func(text string) {
		t.Helper()
		eventually(t, "the log says "+text, func() bool { return strings.Contains(r.log.String(), text) })
	}
	key := func() string {
		u, err := r.server.use("cpu")
		if err != nil {
			t.Fatal(err)
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.defaults.AppKey
	}
	n := 0
	next := func() {
		t.Helper()
		n++
		r.must("cpu", event(fmt.Sprint("a", n), udf.Critical, udf.OK, n))
	}

	next()
	if got := key(); got != "key" {
		t.Errorf("without a file the key is %q", got)
	}
	put(t, cpu, "one")
	r.holds("cpu", "one")
	next()
	if got := key(); got != "one" {
		t.Errorf("the key is %q", got)
	}
	put(t, cpu, "bad")
	says(`msg="a handler file is wrong: what it said before holds" handler=cpu file=` + cpu + ` error="handler file: bad"`)
	next()
	if got := key(); got != "one" {
		t.Errorf("beside a wrong file the key is %q", got)
	}
	put(t, filepath.Join(dir, "mem.json"), "bad too")
	says(`msg="a handler file is wrong: the settings hold" handler=mem`)
	put(t, cpu, "one")
	says(`msg="a handler file is right again" handler=cpu`)
	opened := r.opened
	next()
	r.mu.Lock()
	if r.opened != opened {
		t.Error("the outbox was opened again for nothing")
	}
	r.mu.Unlock()
	put(t, filepath.Join(dir, "cpu.yml"), "other")
	says("cpu.yml is another file for the same handler: keep one")
	put(t, filepath.Join(dir, "-x.yaml"), "other")
	says(`\"-x\" is no name of a handler`)
	next()
	if got := key(); got != "one" {
		t.Errorf("with two files the key is %q", got)
	}
	for _, e := range []string{"cpu.yml", "cpu.yaml"} {
		if err := os.Remove(filepath.Join(dir, e)); err != nil {
			t.Fatal(err)
		}
	}
	r.holds("cpu", "")
	next()
	if got := key(); got != "key" {
		t.Errorf("once the file is gone the key is %q", got)
	}
	put(t, cpu, "two")
	r.holds("cpu", "two")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	says(`msg="what the handler files said still holds" error="read the folder of handler files: open ` + dir)
	r.holds("cpu", "two")
	if told := r.store("cpu").says(); told != strings.TrimSpace(strings.Repeat("CRITICAL ", n)) {
		t.Errorf("of %d changes were told %s", n, told)
	}
	if n := strings.Count(r.log.String(), "handler file: bad too"); n != 1 {
		t.Errorf("a wrong file was said %d times", n)
	}
}

// What the time and the size of a file do not tell is taken over, too.
func TestFolderOfOldFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "cpu.yaml")
	putOld := func(text string) {
		t.Helper()
		old := time.Unix(1, 0)
		if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o600), os.Chtimes(path+"~", old, old), os.Rename(path+"~", path)); err != nil {
			t.Fatal(err)
		}
	}
	putOld("one")
	var locked atomic.Bool
	locked.Store(true)
	r := startServer(t, func(o *Options, _ *times) {
		o.Dir = dir
		o.Read = func(path string) (udf.Defaults, error) {
			if locked.Load() {
				return udf.Defaults{}, os.ErrPermission
			}
			return readKey(path)
		}
	})
	r.holds("cpu", "")
	locked.Store(false) // as chmod does
	r.holds("cpu", "one")
	putOld("two")
	r.holds("cpu", "two")
}

// P5: a file that changes under load loses nothing and tells nothing twice: what was
// told is read again from the outbox.
func TestFolderUnderLoad(t *testing.T) {
	t.Parallel()
	r, dir := startFolder(t)
	done := make(chan struct{})
	var clients sync.WaitGroup
	var cycles atomic.Int64
	for p := range 4 {
		clients.Go(func() {
			levels := []udf.Level{udf.OK, udf.Critical, udf.Critical, udf.Warning, udf.OK}
			for i := 0; ; i++ {
				select {
				case <-done:
					cycles.Add(int64(i / 4))
					return
				default:
				}
				answer, err := r.client.Do(r.request("cpu", event(fmt.Sprint("p", p), levels[i%4+1], levels[i%4], i+1), nil))
				if err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Errorf("the answer is %s", answer.Status)
				}
			}
		})
	}
	opened := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.opened
	}
	for i := range 6 {
		key, before := fmt.Sprint("key ", i), opened()
		put(t, filepath.Join(dir, "cpu.yaml"), "bad")
		put(t, filepath.Join(dir, "cpu.yaml"), key)
		r.holds("cpu", key)
		eventually(t, "the handler is opened anew", func() bool { return opened() > before })
	}
	close(done)
	clients.Wait()
	told := r.store("cpu").says()
	// Of each four events one repeats its level. Where the app key has changed, an
	// alert goes on under the new one, which resolves it under the old one.
	for _, level := range []string{"CRITICAL", "WARNING", "OK"} {
		if n := strings.Count(told+" ", level+" "); int64(n) < cycles.Load() {
			t.Errorf("told %d %s of %d", n, level, cycles.Load())
		}
	}
}
