package safetensors

import "syscall"

func release(mapping []byte) { _ = syscall.Madvise(mapping, syscall.MADV_DONTNEED) }
