package cli

import (
	"bufio"
	"compress/gzip"
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

type input struct {
	*recording.Reader
	name string // as messages call it
	file io.Closer
	// bytes are those of the file. Another goroutine reads them, as a terminal or a
	// pipe is waited for as long as nobody writes: closing this ends the wait.
	bytes *io.PipeReader
}

// openInput opens the file. What is gzip is seen by how it begins.
func (p Process) openInput(f *replayFlags) (in input, err error) {
	precision, ok := precisions[f.Precision]
	if !ok {
		return in, usagef("--precision is %q: write %s", config.Shown(f.Precision), strings.Join(slices.Sorted(maps.Keys(precisions)), ", "))
	}
	options := recording.Options{Precision: precision}
	file := p.Stdin
	switch extension := strings.ToLower(filepath.Ext(f.File)); {
	case f.File == "":
		return in, usagef("which points? Name a file of line protocol or a recording, or write - for stdin")
	case f.File == "-":
		in.name, in.file = "stdin", io.NopCloser(nil)
	case extension == batchRecording:
		return in, usagef("%s is the recording of a batch task, which replay does not take: record the points of a stream with kapacitor record stream (in a task, @bigpandaBatch() takes batches)", f.File)
	default:
		opened, err := os.Open(f.File)
		if err != nil {
			return in, usagef("read the points: %w", err)
		}
		in.name, in.file, file = f.File, opened, opened
		options.Stream = extension == streamRecording
	}
	var pipe *io.PipeWriter
	in.bytes, pipe = io.Pipe()
	go func() {
		_, err := io.Copy(pipe, file)
		pipe.CloseWithError(err)
	}()
	buffered := bufio.NewReader(in.bytes)
	var bytes io.Reader = buffered
	if start, _ := buffered.Peek(len(gzipMagic)); string(start) == gzipMagic { // an error comes again with the first read
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return in, errors.Join(fmt.Errorf("%s begins like gzip and is none: %w", in.name, err), in.bytes.Close(), in.file.Close())
		}
		bytes = unzipped
	}
	in.Reader = recording.NewReader(bytes, options)
	return in, nil
}
