package cli

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bigpanda-udf/config"
	"bigpanda-udf/recording"
)

// Kapacitor's recordings, by their file's extension (services/replay).
const (
	streamRecording = ".srpl"
	batchRecording  = ".brpl"
)

// gzipMagic is how gzip begins, and line protocol never.
const gzipMagic = "\x1f\x8b"

// input is the file of points.
type input struct {
	*recording.Reader
	name  string // as messages call it
	file  io.Closer
	bytes *interruptible
}

// interruptible reads from what may be a terminal or a pipe, where a Read
// waits for as long as nobody writes. Closing done ends that.
type interruptible struct {
	in   io.Reader
	done <-chan struct{} // nil: it is not to be ended
	kept []byte          // a Read that was given up still writes to it
	read chan error      // its end
	n    int             // how much it has read
}

// Read returns context.Canceled once done is closed, and then for ever.
func (i *interruptible) Read(p []byte) (int, error) {
	if i.done == nil {
		return i.in.Read(p)
	}
	select {
	case <-i.done:
		return 0, context.Canceled
	default:
	}
	if i.read == nil {
		i.kept, i.read = make([]byte, 64<<10), make(chan error, 1)
	}
	room := i.kept[:min(len(p), len(i.kept))]
	go func() {
		n, err := i.in.Read(room)
		i.n = n
		i.read <- err
	}()
	select {
	case err := <-i.read:
		return copy(p, room[:i.n]), err
	case <-i.done:
		return 0, context.Canceled
	}
}

// openInput opens the file. What is gzip is seen by how it begins.
func (p Process) openInput(f *replayFlags) (in input, err error) {
	precision, ok := precisions[f.Precision]
	if !ok {
		return in, usagef("--precision is %q: write %s", config.Shown(f.Precision), strings.Join(slices.Sorted(maps.Keys(precisions)), ", "))
	}
	options := recording.Options{Precision: precision}
	var bytes io.Reader
	switch extension := strings.ToLower(filepath.Ext(f.File)); {
	case f.File == "":
		return in, usagef("which points? Name a file of line protocol or a recording, or write - for stdin")
	case f.File == "-":
		in.name, in.file, bytes = "stdin", io.NopCloser(nil), p.Stdin
	case extension == batchRecording:
		return in, usagef("%s is the recording of a batch task, which replay does not take: record the points of a stream with kapacitor record stream (in a task, @bigpandaBatch() takes batches)", f.File)
	default:
		file, err := os.Open(f.File)
		if err != nil {
			return in, usagef("read the points: %w", err)
		}
		in.name, in.file, bytes = f.File, file, file
		options.Stream = extension == streamRecording
	}
	in.bytes = &interruptible{in: bytes}
	buffered := bufio.NewReader(in.bytes)
	bytes = buffered
	if start, _ := buffered.Peek(len(gzipMagic)); string(start) == gzipMagic { // an error comes again with the first read
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return in, errors.Join(fmt.Errorf("%s begins like gzip and is none: %w", in.name, err), in.file.Close())
		}
		bytes = unzipped
	}
	in.Reader = recording.NewReader(bytes, options)
	return in, nil
}
