package stream

import (
	"slices"
	"time"
)

// A progress is what is known of the stream's messages up to read: which of them are
// undelivered, and which of these are in memory. It has no lock of its own.
type progress struct {
	created time.Time // of the stream
	read    uint64
	readAt  time.Time
	appKeys map[string]*backlog // by token; those that have something undelivered
	loaded  map[uint64]*backlog // by number: what is in memory
	bytes   int                 // of what is in memory
}

// A backlog is what is undelivered of an app key:
//
//	numbers of it    2 3 5 6 7 9 12 15 …
//	                 ▲   ▲ ▲     └──┬──┘
//	in memory  2, 5, 6, behind a gap each if something before was delivered;
//	left to be read (12 to 15), all of it behind what is in memory
type backlog struct {
	token  string
	memory []loadedMessage // ascending
	bytes  int             // of what is in memory
	gap    bool            // something behind the last of it is delivered
	left   holes
	open   bool // the last hole goes on with the next message of the app key
}

type loadedMessage struct {
	seq   uint64
	bytes int
	gap   bool // something between it and the one before is delivered
}

// newProgress goes on where a record ends.
func newProgress(r leaseRecord) progress {
	p := progress{
		created: r.Created, read: r.Read, readAt: r.ReadAt,
		appKeys: make(map[string]*backlog), loaded: make(map[uint64]*backlog),
	}
	for token, h := range r.AppKeys {
		if len(h) > 0 {
			p.appKeys[token] = &backlog{token: token, left: slices.Clone(h)}
		}
	}
	return p
}

func (p *progress) backlog(token string) *backlog {
	b := p.appKeys[token]
	if b == nil {
		b = &backlog{token: token}
		p.appKeys[token] = b
	}
	return b
}

// load takes a message of an app key into memory, which is behind all that is there.
func (p *progress) load(b *backlog, seq uint64, bytes int) {
	b.memory = append(b.memory, loadedMessage{seq, bytes, b.gap})
	b.bytes += bytes
	p.bytes += bytes
	b.gap = false
	p.loaded[seq] = b
}

// leave leaves the newest message of an app key in the stream.
func (b *backlog) leave(seq uint64) {
	if !b.open {
		b.left = append(b.left, hole{from: seq})
		b.open = true
	}
	last := &b.left[len(b.left)-1]
	last.to = seq
	last.n++
}

// skip says that of what was left nothing below a number is there any more but what was
// reread. It returns how many messages have gone.
func (p *progress) skip(b *backlog, below uint64) (gone uint64) {
	for len(b.left) > 0 && b.left[0].from < below {
		if b.left[0].to >= below {
			b.left[0].from = below
			break
		}
		gone += b.left[0].n
		b.left = b.left[1:]
		b.gap = true // before the next hole something is delivered
	}
	if len(b.left) == 0 {
		b.left, b.open = nil, false
	}
	p.tidy(b)
	return gone
}

// reread takes a message into memory that was left, if it is undelivered. Those before it
// were reread.
func (p *progress) reread(b *backlog, seq uint64, bytes int) (undelivered bool, gone uint64) {
	gone = p.skip(b, seq)
	if len(b.left) == 0 || b.left[0].from != seq {
		return false, gone
	}
	p.load(b, seq, bytes)
	// Of holes that became one, more is found than was undelivered.
	b.left[0].n -= min(1, b.left[0].n)
	return true, gone + p.skip(b, seq+1)
}

// done notes that messages in memory are delivered. Others are ignored.
func (p *progress) done(seqs []uint64) {
	delivered := make(map[*backlog]map[uint64]bool)
	for _, seq := range seqs {
		if b := p.loaded[seq]; b != nil {
			if delivered[b] == nil {
				delivered[b] = make(map[uint64]bool)
			}
			delivered[b][seq] = true
			delete(p.loaded, seq)
		}
	}
	for b, seqs := range delivered {
		gap := false
		kept := b.memory[:0]
		for _, m := range b.memory {
			if seqs[m.seq] {
				gap = true
				b.bytes -= m.bytes
				p.bytes -= m.bytes
				continue
			}
			m.gap, gap = m.gap || gap, false
			kept = append(kept, m)
		}
		b.memory = kept
		b.gap = b.gap || gap
		p.tidy(b)
	}
}

// tidy forgets an app key of which all is delivered.
func (p *progress) tidy(b *backlog) {
	if len(b.memory) == 0 && len(b.left) == 0 {
		delete(p.appKeys, b.token)
	}
}

// holes are those of the record.
func (b *backlog) holes() (all holes) {
	for i, m := range b.memory {
		if i == 0 || m.gap {
			all = append(all, hole{from: m.seq})
		}
		last := &all[len(all)-1]
		last.to = m.seq
		last.n++
	}
	return append(all, b.left...)
}

// fill writes what is known into a record.
func (p *progress) fill(r *leaseRecord) {
	r.Created, r.Read, r.ReadAt = p.created, p.read, p.readAt
	r.AppKeys = make(map[string]holes, len(p.appKeys))
	limit := max(fewHoles, maxHoles/max(1, len(p.appKeys)))
	for token, b := range p.appKeys {
		r.AppKeys[token] = b.holes().within(limit)
	}
	if len(p.appKeys) > maxHoles { // it would be too much to write with each ack
		*r = r.short()
	}
}
