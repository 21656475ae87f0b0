package powerloss

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// A disk is what a file system makes of operations: what is there for who
// looks, and what of it is sure to be there after a loss of power.
type disk struct {
	seq  int // operations applied
	root *node
	open map[int]*node // by the operations' number
}

// A node is a file or a folder.
//
// What was done since its last sync is pending: a file's data and size by its
// own, the names in a folder by the folder's.
type node struct {
	folder bool

	names      map[string]*node // of a folder, as they are
	safe       map[string]*node // as of the last sync
	namings    []naming         // since then
	data       []byte           // of a file, as of the last sync
	size       int64            // as it is
	operations []op             // since the last sync: writes and resizes
	seqs       []int            // of these operations
}

// A naming gives a name to a node and takes one away; both at once is a rename.
type naming struct {
	seq       int
	take, put string
	node      *node
}

func newDisk() *disk { return &disk{root: newFolder(), open: make(map[int]*node)} }

func newFolder() *node {
	return &node{folder: true, names: make(map[string]*node), safe: make(map[string]*node)}
}

// apply does one operation.
func (d *disk) apply(o op) error {
	defer func() { d.seq++ }()
	switch o.call {
	case "open", "create":
		n := d.find(o.path)
		if n == nil && o.call == "create" {
			n = &node{}
			if err := d.name(naming{put: path.Base(o.path), node: n}, o.path); err != nil {
				return err
			}
		}
		if n == nil {
			return fmt.Errorf("open %s: it is not there", o.path)
		}
		d.open[o.file] = n
	case "mkdir":
		return d.name(naming{put: path.Base(o.path), node: newFolder()}, o.path)
	case "unlink":
		if d.find(o.path) == nil {
			return nil // a socket: it means nothing after the loss
		}
		return d.name(naming{take: path.Base(o.path)}, o.path)
	case "rename":
		n := d.find(o.path)
		if n == nil {
			return fmt.Errorf("rename %s: it is not there", o.path)
		}
		return d.name(naming{take: path.Base(o.path), put: path.Base(o.to), node: n}, o.path)
	case "write", "resize":
		n := d.open[o.file]
		if o.call == "resize" && o.off < n.size {
			return fmt.Errorf("make %s shorter: not simulated", o.path)
		}
		n.size = max(n.size, o.off+int64(len(o.data)))
		n.operations, n.seqs = append(n.operations, o), append(n.seqs, d.seq)
	case "sync", "datasync":
		d.open[o.file].sync(o.since)
	}
	return nil
}

func (d *disk) find(name string) *node {
	n := d.root
	for part := range strings.SplitSeq(name, "/") {
		if part == "." {
			continue
		}
		if n = n.names[part]; n == nil {
			return nil
		}
	}
	return n
}

// name does a naming in the folder of a path.
func (d *disk) name(change naming, at string) error {
	folder := d.find(path.Dir(at))
	if folder == nil {
		return fmt.Errorf("name %s: its folder is not there", at)
	}
	change.seq = d.seq
	change.do(folder.names)
	folder.namings = append(folder.namings, change)
	return nil
}

func (c naming) do(names map[string]*node) {
	if c.take != "" {
		delete(names, c.take)
	}
	if c.put != "" {
		names[c.put] = c.node
	}
}

// sync makes durable what was done before an operation.
func (n *node) sync(before int) {
	for len(n.namings) > 0 && n.namings[0].seq < before {
		n.namings[0].do(n.safe)
		n.namings = n.namings[1:]
	}
	for len(n.operations) > 0 && n.seqs[0] < before {
		n.data = grown(n.data, n.operations[0])
		copy(n.data[n.operations[0].off:], n.operations[0].data)
		n.operations, n.seqs = n.operations[1:], n.seqs[1:]
	}
}

// grown makes room for an operation; what was never written reads as zero.
func grown(data []byte, o op) []byte {
	if more := o.off + int64(len(o.data)) - int64(len(data)); more > 0 {
		data = append(data, make([]byte, more)...)
	}
	return data
}

// lose writes out what a loss of power now may leave, into a folder that is
// there. It returns what it chose, in words.
func (d *disk) lose(random *rand.Rand, folder string) (string, error) {
	var chosen string
	var keep func(naming) bool
	switch random.IntN(4) {
	case 0:
		chosen, keep = "no names", func(naming) bool { return false }
	case 1:
		chosen, keep = "all names", func(naming) bool { return true }
	case 2: // as a journal keeps them
		upTo := random.IntN(d.seq + 1)
		chosen, keep = fmt.Sprint("names before ", upTo), func(c naming) bool { return c.seq < upTo }
	default: // as POSIX allows
		chosen, keep = "some names", func(naming) bool { return random.IntN(2) == 0 }
	}
	err := d.root.lose(random, folder, keep, &chosen)
	return chosen, err
}

func (n *node) lose(random *rand.Rand, at string, keep func(naming) bool, chosen *string) error {
	if !n.folder {
		data, how := n.remains(random)
		if len(n.operations) > 0 {
			*chosen += fmt.Sprintf(", %s of %d in %s", how, len(n.operations), filepath.Base(at))
		}
		return writeSparse(at, data)
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	names := make(map[string]*node, len(n.safe))
	for name, child := range n.safe {
		names[name] = child
	}
	for _, c := range n.namings {
		if keep(c) {
			c.do(names)
		}
	}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		if err := names[name].lose(random, filepath.Join(at, name), keep, chosen); err != nil {
			return err
		}
	}
	return nil
}

// remains is what a loss of power now may leave of a file: of each sector one
// of the states that it was in since the last sync, and one of the sizes.
func (n *node) remains(random *rand.Rand) (data []byte, how string) {
	data = slices.Clone(n.data)
	sizes := []int64{int64(len(data))}
	for _, o := range n.operations {
		data = grown(data, o)
		sizes = append(sizes, int64(len(data)))
	}
	last := len(n.operations) - 1
	size := sizes[len(sizes)-1]
	state := make(map[int64]int) // by sector: the last operation that is in it
	switch random.IntN(5) {
	case 0:
		return slices.Clone(n.data), "nothing"
	case 1:
		how = "everything"
		n.sectors(func(i int, s int64) { state[s] = last })
	case 2:
		how = "the first"
		upTo, torn := random.IntN(last+2), random.IntN(2) == 0
		n.sectors(func(i int, s int64) {
			if i < upTo || torn && i == upTo && random.IntN(2) == 0 {
				state[s] = i
			}
		})
		size = sizes[min(upTo+random.IntN(2), last+1)]
	case 3:
		how = "any writes"
		kept := make([]bool, last+1)
		for i := range kept {
			kept[i] = random.IntN(2) == 0
		}
		n.sectors(func(i int, s int64) {
			if kept[i] {
				state[s] = i
			}
		})
		size = sizes[random.IntN(len(sizes))]
	default:
		how = "any sectors"
		some := 1 + random.IntN(9)
		n.sectors(func(i int, s int64) {
			if random.IntN(10) < some {
				state[s] = i
			}
		})
		size = sizes[0] + random.Int64N((size-sizes[0])/sector+1)*sector
	}
	for i, o := range n.operations {
		for from := int64(0); from < int64(len(o.data)); {
			s := (o.off + from) / sector
			to := min((s+1)*sector-o.off, int64(len(o.data)))
			if upTo, any := state[s]; any && i <= upTo {
				copy(data[o.off+from:], o.data[from:to])
			}
			from = to
		}
	}
	return data[:size], how
}

// sectors calls f with each pending write and each sector that is in it.
func (n *node) sectors(f func(i int, sector int64)) {
	for i, o := range n.operations {
		if len(o.data) == 0 {
			continue
		}
		for s := o.off / sector; s*sector < o.off+int64(len(o.data)); s++ {
			f(i, s)
		}
	}
}

// writeSparse writes a file, its zeros as holes.
func writeSparse(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const page = 64 << 10
	zero := string(make([]byte, page))
	for from := 0; from < len(data); from += page {
		piece := data[from:min(from+page, len(data))]
		if string(piece) == zero[:len(piece)] {
			continue
		}
		if _, err := f.WriteAt(piece, int64(from)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(data)))
}
