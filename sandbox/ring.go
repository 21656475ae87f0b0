package sandbox

// ring keeps the newest values added, numbered from 1 without a gap.
type ring[T any] struct {
	keep  int    // at least 1
	added uint64 // the number of the last value added
	slots []T    // grows to keep, then its oldest value is overwritten
	start int    // where the oldest is
}

// next returns the number that the next value gets.
func (r *ring[T]) next() uint64 { return r.added + 1 }

// add adds a value; when the ring was full it returns the one that fell out.
func (r *ring[T]) add(v T) (old T, full bool) {
	r.added++
	if len(r.slots) < r.keep {
		r.slots = append(r.slots, v)
		return old, false
	}
	old = r.slots[r.start]
	r.slots[r.start] = v
	r.start = (r.start + 1) % r.keep
	return old, true
}

// at returns the value with the number n, if it is kept.
func (r *ring[T]) at(n uint64) (v T, ok bool) {
	if n == 0 || n > r.added || r.added-n >= uint64(len(r.slots)) {
		return v, false
	}
	back := int(r.added - n)
	return r.slots[(r.start+len(r.slots)-1-back)%len(r.slots)], true
}

// after returns a copy of the kept values with a higher number than n, oldest
// first, at most limit of them; 0: all.
func (r *ring[T]) after(n uint64, limit int) []T {
	count := uint64(len(r.slots))
	if n >= r.added {
		return nil
	}
	count = min(count, r.added-n)
	skip := len(r.slots) - int(count)
	if limit > 0 {
		count = min(count, uint64(limit))
	}
	values := make([]T, count)
	for i := range values {
		values[i] = r.slots[(r.start+skip+i)%len(r.slots)]
	}
	return values
}

// clear forgets all values, not the numbering.
func (r *ring[T]) clear() { r.slots, r.start = nil, 0 }
