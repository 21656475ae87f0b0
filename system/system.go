// Package system is what the program asks of the operating system that POSIX
// systems and Windows answer differently: locks, sockets, owners, folders and file
// systems. It knows nothing of what they are for.
package system
