package topic

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"bigpanda-udf/regularfile"
	"bigpanda-udf/udf"
)

// The form of a handler's name, and its length, which is no part of it: counted repetitions
// make a start of the program slower.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const maxNameLength = 100

// CheckName says what is wrong with the name of a handler. It stands in a URL and in
// a file's name.
func CheckName(name string) error {
	if len(name) <= maxNameLength && names.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%q is no name of a handler: write letters, digits, dots, hyphens and underscores, 100 at most, with a letter or a digit first", name)
}

// A File is one of a folder of handler files. Err, if set, is why it cannot be the
// one of its name.
type File struct {
	Name, Path string
	Err        error
}

// Files lists the handler files of a folder, NAME.yaml, NAME.yml and NAME.json, by
// name; other files, as those of editors whose names begin with a dot, are none.
func Files(dir string) (files []File, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of handler files: %w: name one that this user may read", err)
	}
	at := make(map[string]int)
	for _, e := range entries {
		extension, path := filepath.Ext(e.Name()), filepath.Join(dir, e.Name())
		name := strings.TrimSuffix(e.Name(), extension)
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, extension) || strings.HasPrefix(name, ".") {
			continue
		}
		if first, twice := at[name]; twice {
			files[first].Err = fmt.Errorf("%s is another file for the same handler: keep one", filepath.Base(path))
			continue
		}
		at[name] = len(files)
		files = append(files, File{name, path, CheckName(name)})
	}
	return files, nil
}

// A folder is what the handler files say, by name. Whoever asks may do so at any time,
// and does not wait for files that are being read; one at a time looks.
type folder struct {
	dir  string
	read func(path string) (udf.Defaults, error)
	log  *slog.Logger

	files map[string]*handlerFile
	fault string // of the folder itself, that was said
	holds atomic.Pointer[map[string]*udf.Defaults]
}

// A handlerFile is what was read of one.
type handlerFile struct {
	text     []byte        // when it last was right
	fault    string        // that was said; "": it is right
	defaults *udf.Defaults // that hold; nil: it never was right, and those of the settings do
}

// of returns what holds for a handler, nil for the settings. It is the same pointer
// until that changes.
func (f *folder) of(name string) *udf.Defaults {
	if holds := f.holds.Load(); holds != nil {
		return (*holds)[name]
	}
	return nil
}

// look takes over what has changed in the folder. What is wrong is said once, and
// what held before still does.
func (f *folder) look() {
	if f.dir == "" {
		return
	}
	files, err := Files(f.dir)
	if err != nil {
		if f.fault != err.Error() {
			f.fault = err.Error()
			f.log.Error("what the handler files said still holds", "error", err)
		}
		return
	}
	f.fault = ""
	there, holds := make(map[string]*handlerFile), make(map[string]*udf.Defaults)
	for _, file := range files {
		known := f.files[file.Name]
		if known == nil {
			known = new(handlerFile)
		}
		there[file.Name] = known
		f.take(known, file)
		holds[file.Name] = known.defaults
	}
	for name := range f.files {
		if there[name] == nil {
			f.log.Info("a handler file is gone: the settings hold", "handler", name)
		}
	}
	f.files = there
	f.holds.Store(&holds)
}

// take takes over what a file says now.
func (f *folder) take(known *handlerFile, file File) {
	d, err := udf.Defaults{}, file.Err
	text, _ := regularfile.Read(file.Path, regularfile.MaxText) // why it cannot, f.read says
	isSame := known.defaults != nil && bytes.Equal(text, known.text)
	if err == nil && !isSame {
		d, err = f.read(file.Path)
	}
	log := f.log.With("handler", file.Name, "file", file.Path)
	switch {
	case err != nil:
		if known.fault == err.Error() {
			return
		}
		known.fault = err.Error()
		holds := "what it said before holds"
		if known.defaults == nil {
			holds = "the settings hold"
		}
		log.Error("a handler file is wrong: "+holds, "error", err)
	case !isSame:
		*known = handlerFile{text: text, defaults: &d}
		log.Info("a handler file is taken over")
	case known.fault != "":
		known.fault = ""
		log.Info("a handler file is right again")
	}
}
