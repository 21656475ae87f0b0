package retry

import "math/rand/v2"

// An Isolation says in which pieces a batch goes that failed, until each alert that
// is at fault was sent alone. Bad alerts often come together, and so do good ones:
// from one that was accepted it goes on to both sides, in pieces as large as what
// passed before, and then tries a single one somewhere else.
//
//	✗ ✗ ✗ ✗ ✗ ✗ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✗ ✗ ✗
//	          ◀────── ● ──────▶
//
// One goroutine owns it.
type Isolation struct {
	left      int // alerts that are not done with
	from, end int // of them: the piece that is being tried
	to        direction
	at        int // where the next piece begins or ends
	bad       int // as many from there on are known to fail together
	run       int // as many have passed since one failed alone,
	lastRun   int // and before that one
}

// A direction says where the next piece is taken.
type direction int

const (
	alone direction = iota // one alert, by itself
	newer
	older
)

// NewIsolation begins at one place of n alerts: with a single one, or with as many
// as are likely to pass where the alert just before has.
func NewIsolation(n, at int, passedBefore bool) *Isolation {
	s := &Isolation{left: n, at: at, lastRun: n / 4}
	if passedBefore {
		s.to = newer
	}
	return s
}

// Piece returns the place of the next piece among the alerts that are left; an
// empty one when there are none. Passed, Failed or Isolated says what became of it.
func (s *Isolation) Piece() (from, end int) {
	for s.left > 0 {
		size := 2*max(s.run, s.lastRun) + 1
		if s.bad > 0 {
			size = max(1, s.bad/2)
		}
		switch s.to {
		case newer:
			s.from, s.end = s.at, min(s.at+size, s.left)
		case older:
			s.from, s.end = max(0, s.at-size), s.at
		default:
			s.from, s.end = s.at, s.at+1
		}
		if s.from < s.end {
			return s.from, s.end
		}
		s.redirect()
	}
	return 0, 0
}

// Passed takes the piece out of what is left, since it was accepted.
func (s *Isolation) Passed() {
	n := s.remove()
	s.run += n
	s.bad = max(0, s.bad-n)
	if s.to == alone {
		s.to = newer
	}
}

// Failed says that several alerts fail together.
func (s *Isolation) Failed() { s.bad = s.end - s.from }

// Isolated takes the piece, a single alert at fault, out of what is left.
func (s *Isolation) Isolated() {
	s.remove()
	s.lastRun, s.run = s.run, 0
	s.redirect()
}

func (s *Isolation) remove() (n int) {
	n = s.end - s.from
	s.left -= n
	s.at = s.from
	return n
}

// redirect goes on where there is nothing more to be had in this direction: to the
// other side, or at a place by chance.
func (s *Isolation) redirect() {
	s.bad = 0
	if s.to == newer || s.left == 0 {
		s.to = older
	} else {
		s.to, s.at = alone, rand.IntN(s.left)
	}
}
