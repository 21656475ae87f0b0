package powerloss

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDisk says what a loss of power may leave of some operations: all of it
// is seen, and nothing else. A file's sectors are its letters.
func TestDisk(t *testing.T) {
	const file, folder = 1, 2
	create := op{call: "create", file: file, path: "a"}
	open := op{call: "open", file: folder, path: "."}
	write := func(at int64, letters string) op {
		o := op{call: "write", file: file, off: at * sector}
		for _, letter := range letters {
			o.data = append(o.data, strings.Repeat(string(letter), sector)...)
		}
		return o
	}
	sync := func(file, since int) op { return op{call: "sync", file: file, since: since} }
	all := 100
	there := []op{open, create, write(0, "xy"), sync(file, all), sync(folder, all)}
	tests := []struct {
		name string
		ops  []op
		want string
	}{
		{"a file that was synced, in a folder that was", there, "a=xy"},
		{"a folder that was not synced", there[:4], "- a=xy"},
		{"a file that was not synced", []op{open, create, write(0, "xy"), sync(folder, all)},
			"a= a=. a=.. a=.y a=x a=x. a=xy"},
		{"a synced file is written over: its sectors are torn", slices.Concat(there, []op{write(0, "XY")}),
			"a=XY a=Xy a=xY a=xy"},
		{"writes may reach the disk in any order", slices.Concat(there, []op{write(0, "X"), write(1, "Y")}),
			"a=XY a=Xy a=xY a=xy"},
		{"what was written while the sync ran is not sure", slices.Concat(there, []op{write(0, "X"), sync(file, 5)}),
			"a=Xy a=xy"},
		{"datasync keeps the data, and the size that they need",
			slices.Concat(there, []op{write(2, "z"), {call: "datasync", file: file, since: all}}), "a=xyz"},
		{"a rename is done or not", slices.Concat(there, []op{{call: "rename", path: "a", to: "b"}}), "a=xy b=xy"},
		{"a rename over a file is done or not", slices.Concat(there, []op{
			{call: "create", file: 3, path: "b"}, sync(folder, all), {call: "rename", path: "a", to: "b"}}), "a=xy,b= b=xy"},
		{"a rename that was synced", slices.Concat(there, []op{{call: "rename", path: "a", to: "b"}, sync(folder, all)}), "b=xy"},
		{"a name that was taken away may be there", slices.Concat(there, []op{{call: "unlink", path: "a"}}), "- a=xy"},
		{"what is in a folder goes with it", []op{{call: "mkdir", path: "d"}, {call: "create", file: file, path: "d/a"},
			{call: "open", file: folder, path: "d"}, sync(folder, all)}, "- d/a="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			for _, o := range tt.ops {
				if err := d.apply(o); err != nil {
					t.Fatal(err)
				}
			}
			seen := make(map[string]bool)
			for i := range 400 {
				at := filepath.Join(scratch(t), fmt.Sprint(i))
				if _, err := d.lose(rand.New(rand.NewPCG(1, uint64(i))), at); err != nil {
					t.Fatal(err)
				}
				seen[letters(t, at)] = true
				os.RemoveAll(filepath.Dir(at))
			}
			if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// letters are the files in a folder, "-" for none, each with its sectors: "."
// for one of zeros.
func letters(t *testing.T, folder string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		text := strings.TrimPrefix(name, folder+"/") + "="
		for ; len(data) >= sector; data = data[sector:] {
			text += strings.ReplaceAll(string(data[:1]), "\x00", ".")
		}
		all = append(all, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ",")
}

func TestReadTrace(t *testing.T) {
	const opened = "7 openat(AT_FDCWD, \"\\x61\", O_RDWR|O_CREAT, 0600) = 3\n"
	tests := []struct {
		name, trace, want string
	}{
		{"a file of the writer's", opened + "7 pwrite64(3, \"\\x62\\x63\", 2, 4096) = 2\n7 fdatasync(3)    = 0\n",
			"create a, write a 4096 bc, datasync a since 2"},
		{"a write goes on where the last one ended", opened + "7 write(3, \"\\x62\\x63\", 2) = 2\n7 write(3, \"\\x64\", 1) = 1\n",
			"create a, write a 0 bc, write a 2 d"},
		{"files elsewhere mean nothing", "7 openat(AT_FDCWD, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0600) = 3\n7 fsync(3) = 0\n", ""},
		{"what failed did nothing", "7 mkdirat(AT_FDCWD, \"\\x61\", 0700) = -1 EEXIST (File exists)\n", ""},
		{"a folder's descriptor", "7 openat(AT_FDCWD, \"\\x64\", O_RDONLY) = 4\n7 unlinkat(4, \"\\x61\", 0) = 0\n", "open d, unlink d/a"},
		{"a closed file", opened + "7 close(3) = 0\n7 fsync(3) = 0\n", "create a"},
		{"a sync keeps what was over when it began", opened + "7 fsync(3 <unfinished ...>\n8 pwrite64(3, \"\\x62\", 1, 0) = 1\n7 <... fsync resumed>) = 0\n",
			"create a, write a 0 b, sync a since 1"},
		{"a promise holds from where it begins to be said",
			opened + "7 openat(AT_FDCWD, \"\\x70\\x72\\x6f\\x6d\\x69\\x73\\x65\\x73\", O_RDWR|O_CREAT|O_TRUNC, 0600) = 5\n" +
				"7 write(5, \"\\x62\", 1 <unfinished ...>\n8 fsync(3) = 0\n7 <... write resumed>) = 1\n",
			"create a, say b, sync a since 2"},
		{"a string that was cut", opened + "7 pwrite64(3, \"\\x62\"..., 9, 0) = 9\n", "line 2"},
		{"a short write", opened + "7 pwrite64(3, \"\\x62\\x63\", 2, 0) = 1\n", "line 2"},
		{"a file that is mapped to be written", opened + "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f\n", "line 2"},
		{"what is not known", "7 symlinkat(\"\\x61\", AT_FDCWD, \"\\x62\") = 0\n", "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ops, _, err := readTrace(strings.NewReader(tt.trace))
			if err != nil {
				if !strings.HasPrefix(tt.want, "line") || !strings.Contains(err.Error(), tt.want+":") {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				return
			}
			var got []string
			for _, o := range ops {
				text := strings.TrimRight(o.call+" "+o.path, " ")
				switch o.call {
				case "write":
					text += fmt.Sprintf(" %d %s", o.off, o.data)
				case "say":
					text += " " + string(o.data)
				case "sync", "datasync":
					text += fmt.Sprint(" since ", o.since)
				}
				got = append(got, text)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %s, want %s", strings.Join(got, ", "), tt.want)
			}
		})
	}
}
