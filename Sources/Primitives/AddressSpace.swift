import CSystem
import Glibc

/// A range of addresses reserved from the kernel; a page costs RAM from its first write until it
/// is given back with `release`. The mapping itself is never shrunk, so an address stays readable.
public final class AddressSpace: @unchecked Sendable {
    public let base: UnsafeMutableRawPointer
    public let byteCount: Int

    /// Reserves at least `byteCount` bytes, or returns nil when the kernel refuses.
    /// `hugePages`: ask for 2 MiB pages (transparent huge pages set to madvise or always).
    public init?(byteCount: Int, hugePages: Bool = false) {
        let size = (byteCount + 0x1f_ffff) & ~0x1f_ffff
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let p = mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0), p != MAP_FAILED
        else { return nil }
        if hugePages { _ = madvise(p, size, Int32(14)) }  // MADV_HUGEPAGE
        base = p
        self.byteCount = size
    }

    /// Gives the RAM of the range back; its bytes read as zero afterwards.
    public func release(offset: Int, count: Int) {
        _ = madvise(base + offset, count, Int32(MADV_DONTNEED))
    }

    deinit { munmap(base, byteCount) }
}
