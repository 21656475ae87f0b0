package sandbox

import "slices"

// ring keeps the newest values added, numbered from 1 without a gap.
type ring[T any] struct {
	keep  int    // at least 1
	added uint64 // the number of the last value added
	slots []T    // grows to keep, then its oldest value is overwritten
	start int    // where the oldest is
	count int    // of values: a slot is free where one was dropped
}

// next returns the number that the next value gets.
func (r *ring[T]) next() uint64 { return r.added + 1 }

// add adds a value; when the ring was full it returns the one that fell out.
func (r *ring[T]) add(v T) (old T, full bool) {
	if r.count == r.keep {
		old, full = r.drop()
	}
	r.added++
	r.count++
	if r.count <= len(r.slots) {
		r.slots[(r.start+r.count-1)%len(r.slots)] = v
		return old, full
	}
	if r.start > 0 { // what has no room must come behind the newest
		r.slots = append(slices.Clone(r.slots[r.start:]), r.slots[:r.start]...)
		r.start = 0
	}
	r.slots = append(r.slots, v)
	return old, full
}

// drop gives up the oldest value, if there is one.
func (r *ring[T]) drop() (old T, ok bool) {
	if r.count == 0 {
		return old, false
	}
	var none T
	old, r.slots[r.start] = r.slots[r.start], none
	r.start = (r.start + 1) % len(r.slots)
	r.count--
	return old, true
}

// at returns the value with the number n, if it is kept.
func (r *ring[T]) at(n uint64) (v T, ok bool) {
	if n == 0 || n > r.added || r.added-n >= uint64(r.count) {
		return v, false
	}
	back := int(r.added - n)
	return r.slots[(r.start+r.count-1-back)%len(r.slots)], true
}

// after returns a copy of the kept values with a higher number than n, oldest
// first, at most limit of them; 0: all.
func (r *ring[T]) after(n uint64, limit int) []T {
	count := uint64(r.count)
	if n >= r.added {
		return nil
	}
	count = min(count, r.added-n)
	skip := r.count - int(count)
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
func (r *ring[T]) clear() { r.slots, r.start, r.count = nil, 0, 0 }
