import Glibc

/// Bytes per page and the alignment of every mapping.
let pageSize = 4096

/// Zeroed, page-aligned memory that lives as long as this value.
struct MappedMemory: ~Copyable {
    let base: UnsafeMutableRawPointer
    let bytes: Int

    init(bytes: Int) throws(RingError) {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        guard let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0),
            base != MAP_FAILED
        else { throw RingError(.mapMemory, errno) }
        self.base = base
        self.bytes = bytes
    }

    deinit { munmap(base, bytes) }
}
