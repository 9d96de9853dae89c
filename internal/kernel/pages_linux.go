package kernel

import "syscall"

// adviseHuge asks for huge pages. A system that has none refuses, and nothing changes.
func adviseHuge(pages []byte) { _ = syscall.Madvise(pages, syscall.MADV_HUGEPAGE) }
