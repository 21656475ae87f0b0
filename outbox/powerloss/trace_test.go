package powerloss

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// An op is one operation on the writer's files that succeeded, or a line that
// it wrote to its promises.
type op struct {
	call  string // create, open, write, resize, sync, datasync, link, unlink, mkdir, rename, say
	file  int    // of open: the number that the others know the open file by
	path  string // relative to the writer's working folder
	to    string // of rename
	off   int64  // of write; the new size of resize
	data  []byte // of write and say
	since int    // of sync: the number of operations that were over when it began
}

// traced are the system calls that change files, and those that tell which.
// The rest of a trace is ignored.
const traced = "openat,open,creat,close,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate," +
	"fsync,fdatasync,sync_file_range,msync,mmap,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat," +
	"link,linkat,dup,dup2,dup3,lseek"

// readTrace reads what strace -f -xx wrote. What the simulation knows nothing
// of is an error, so that a change of the writer's ways does not go unseen.
//
// used are the numbers of the lines that the operations are made of.
func readTrace(r io.Reader) (ops []op, used map[int]bool, err error) {
	t := tracer{files: make(map[string]*openFile), began: make(map[string]began), used: make(map[int]bool)}
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return t.ops, t.used, nil
		}
		if err != nil && err != io.EOF {
			return nil, nil, fmt.Errorf("read trace: %w", err)
		}
		t.number = n
		if err := t.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, nil, fmt.Errorf("read trace: line %d: %.200s: %w", n, line, err)
		}
	}
}

type tracer struct {
	number int // of the line
	used   map[int]bool
	ops    []op
	opens  int
	files  map[string]*openFile // by descriptor
	began  map[string]began     // by thread
}

// An openFile is one of the writer's below its working folder.
type openFile struct {
	number int
	path   string
	pos    int64 // of the next write
}

// A began call was cut in two by another thread's.
type began struct {
	args string
	at   int // operations before it
	line int
	said bool
}

func (t *tracer) line(line string) error {
	thread, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimLeft(rest, " ")
	if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") || rest == "" {
		return nil
	}
	if cut, unfinished := strings.CutSuffix(rest, " <unfinished ...>"); unfinished {
		b := began{args: cut, at: len(t.ops), line: t.number}
		// A promise was made before the write that tells of it began.
		if name, args, _ := strings.Cut(cut, "("); name == "write" {
			if f := t.files[strings.Split(args, ", ")[0]]; f != nil && f.path == promisesName {
				b.said, t.used[t.number] = true, true
				if err := t.say(strings.Split(args, ", ")[1]); err != nil {
					return err
				}
			}
		}
		t.began[thread] = b
		return nil
	}
	at, first := len(t.ops), t.number
	if resumed, ok := strings.CutPrefix(rest, "<... "); ok {
		_, tail, _ := strings.Cut(resumed, " resumed>")
		b := t.began[thread]
		delete(t.began, thread)
		if b.said {
			t.used[t.number] = true
			return nil
		}
		rest, at, first = b.args+tail, b.at, b.line
	}
	name, rest, ok := strings.Cut(rest, "(")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return fmt.Errorf("not a system call")
	}
	args := strings.Split(rest[:end], ", ")
	result, ok := strings.CutPrefix(strings.TrimLeft(rest[end+1:], " "), "= ")
	if !ok {
		return fmt.Errorf("no result")
	}
	result, _, _ = strings.Cut(result, " ")
	if strings.HasPrefix(result, "-") || result == "?" {
		return nil // failed
	}
	ops, opens := len(t.ops), t.opens
	closes := name == "close" && t.files[args[0]] != nil
	err := t.call(name, args, result, at)
	if len(t.ops) > ops || t.opens > opens || closes {
		t.used[first], t.used[t.number] = true, true
	}
	return err
}

func (t *tracer) call(name string, args []string, result string, at int) error {
	switch name {
	case "openat":
		return t.open(args, result)
	case "close":
		delete(t.files, args[0])
	case "mkdirat", "unlinkat":
		p, err := t.path(args[0], args[1])
		if err != nil || p == "" {
			return err
		}
		t.ops = append(t.ops, op{call: strings.TrimSuffix(name, "at"), path: p})
	case "renameat", "renameat2":
		from, err := t.path(args[0], args[1])
		to, err2 := t.path(args[2], args[3])
		if err != nil || err2 != nil || from == "" || to == "" || path.Dir(from) != path.Dir(to) {
			return fmt.Errorf("not simulated")
		}
		t.ops = append(t.ops, op{call: "rename", path: from, to: to})
	case "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync":
		if f := t.files[args[0]]; f != nil {
			return t.change(f, name, args, result, at)
		}
	case "mmap":
		if t.files[args[4]] != nil && strings.Contains(args[2], "PROT_WRITE") {
			return fmt.Errorf("not simulated: writes by mapping")
		}
	case "lseek":
		if f := t.files[args[0]]; f != nil {
			pos, err := strconv.ParseInt(result, 10, 64)
			f.pos = pos
			return err
		}
	case "writev", "pwritev", "pwritev2", "sync_file_range", "dup", "dup2", "dup3":
		if t.files[args[0]] != nil {
			return fmt.Errorf("not simulated")
		}
	default:
		return fmt.Errorf("not simulated")
	}
	return nil
}

func (t *tracer) open(args []string, fd string) error {
	delete(t.files, fd)
	p, err := t.path(args[0], args[1])
	if err != nil || p == "" {
		return err
	}
	if strings.Contains(args[2], "O_APPEND") {
		return fmt.Errorf("not simulated")
	}
	call := "open"
	if strings.Contains(args[2], "O_CREAT") {
		call = "create"
	}
	t.opens++
	t.files[fd] = &openFile{number: t.opens, path: p}
	if p == promisesName {
		return nil
	}
	t.ops = append(t.ops, op{call: call, file: t.opens, path: p})
	if strings.Contains(args[2], "O_TRUNC") {
		t.ops = append(t.ops, op{call: "resize", file: t.opens})
	}
	return nil
}

func (t *tracer) change(f *openFile, name string, args []string, result string, at int) error {
	o := op{file: f.number, path: f.path}
	var err error
	switch name {
	case "write":
		if f.path == promisesName {
			return t.say(args[1])
		}
		o.call, o.off = "write", f.pos
		if o.data, err = unquote(args[1]); err != nil {
			return err
		}
		f.pos += int64(len(o.data))
	case "pwrite64":
		o.call = "write"
		if o.off, err = strconv.ParseInt(args[3], 10, 64); err != nil {
			return err
		}
		o.data, err = unquote(args[1])
	case "ftruncate":
		o.call = "resize"
		o.off, err = strconv.ParseInt(args[1], 10, 64)
	case "fsync", "fdatasync":
		o.call, o.since = strings.TrimPrefix(name, "f"), at
	default:
		err = fmt.Errorf("not simulated")
	}
	if err == nil && o.call == "write" && strconv.Itoa(len(o.data)) != result {
		err = fmt.Errorf("wrote %s of %d bytes, or the trace has not all of them", result, len(o.data))
	}
	t.ops = append(t.ops, o)
	return err
}

func (t *tracer) say(quoted string) error {
	text, err := unquote(quoted)
	t.ops = append(t.ops, op{call: "say", data: text})
	return err
}

// path is relative to the working folder, or empty for one outside.
func (t *tracer) path(dir, quoted string) (string, error) {
	name, err := unquote(quoted)
	if err != nil || path.IsAbs(string(name)) {
		return "", err
	}
	if dir == "AT_FDCWD" {
		return path.Clean(string(name)), nil
	}
	if f := t.files[dir]; f != nil {
		return path.Join(f.path, string(name)), nil
	}
	return "", nil
}

// unquote reads a string of strace -xx, all of it in hexadecimal.
func unquote(s string) ([]byte, error) {
	s, ok := strings.CutPrefix(s, `"`)
	s, ok2 := strings.CutSuffix(s, `"`)
	if !ok || !ok2 || len(s)%4 != 0 {
		return nil, fmt.Errorf("not a whole string")
	}
	b := make([]byte, len(s)/4)
	for i := range b {
		high, low := hexDigit(s[4*i+2]), hexDigit(s[4*i+3])
		if s[4*i] != '\\' || s[4*i+1] != 'x' || high > 15 || low > 15 {
			return nil, fmt.Errorf("not in hexadecimal")
		}
		b[i] = high<<4 | low
	}
	return b, nil
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
