package sandbox

import "slices"

// ring keeps the newest values added, numbered from 1 without a gap.
type ring[T any] struct {
	keep  int    // at least 1
	added uint64 // the number of the last value added
	kept  []T    // oldest first; append leaves behind those that were dropped
}

// next returns the number that the next value gets.
func (r *ring[T]) next() uint64 { return r.added + 1 }

// add adds a value; when the ring was full it returns the one that fell out.
func (r *ring[T]) add(v T) (old T, full bool) {
	if len(r.kept) == r.keep {
		old, full = r.drop()
	}
	r.added++
	r.kept = append(r.kept, v)
	return old, full
}

// drop gives up the oldest value, if there is one.
func (r *ring[T]) drop() (old T, ok bool) {
	if len(r.kept) == 0 {
		return old, false
	}
	var none T // what old points at must not hang on until append moves
	old, r.kept[0] = r.kept[0], none
	r.kept = r.kept[1:]
	return old, true
}

// at returns the value with the number n, if it is kept.
func (r *ring[T]) at(n uint64) (v T, ok bool) {
	if n == 0 || n > r.added || r.added-n >= uint64(len(r.kept)) {
		return v, false
	}
	return r.kept[len(r.kept)-1-int(r.added-n)], true
}

// after returns a copy of the kept values with a higher number than n, oldest
// first, at most limit of them; 0: all.
func (r *ring[T]) after(n uint64, limit int) []T {
	if n >= r.added {
		return nil
	}
	values := r.kept[max(0, len(r.kept)-int(r.added-n)):]
	if limit > 0 {
		values = values[:min(limit, len(values))]
	}
	return slices.Clone(values)
}

// clear forgets all values, not the numbering.
func (r *ring[T]) clear() { r.kept = nil }
