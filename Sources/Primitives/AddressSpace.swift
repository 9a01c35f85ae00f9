import CSystem
import Glibc

/// A range of addresses reserved from the kernel; a page costs RAM from its first write until it
/// is given back with `release`. Begins at a multiple of 2 MiB. The mapping itself is never shrunk,
/// so an address stays readable.
public final class AddressSpace: @unchecked Sendable {
    public let base: UnsafeMutableRawPointer
    public let byteCount: Int
    private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int

    /// Reserves at least `byteCount` bytes, or returns nil when the kernel refuses.
    /// `hugeBytes`: for so many from the start, ask for 2 MiB pages (which the kernel grants when
    /// transparent huge pages are set to madvise or always).
    public init?(byteCount: Int, hugeBytes: Int = 0) {
        let size = (byteCount + 0x1f_ffff) & ~0x1f_ffff
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let p = mmap(nil, size + 0x20_0000, PROT_READ | PROT_WRITE, flags, -1, 0), p != MAP_FAILED
        else { return nil }
        let aligned = UnsafeMutableRawPointer(
            bitPattern: (UInt(bitPattern: p) + 0x1f_ffff) & ~0x1f_ffff)!
        if hugeBytes > 0 { _ = madvise(aligned, hugeBytes, Int32(MADV_HUGEPAGE)) }
        mapping = p
        mappedBytes = size + 0x20_0000
        base = aligned
        self.byteCount = size
    }

    /// Gives the RAM of the range back; its bytes read as zero afterwards.
    public func release(offset: Int, count: Int) {
        _ = madvise(base + offset, count, Int32(MADV_DONTNEED))
    }

    /// Has the kernel give memory for a range now (Linux 5.14; before, it comes with the first writes).
    public static func populate(_ start: UnsafeMutableRawPointer, count: Int) {
        let populateWrite: Int32 = 23
        _ = madvise(start, count, populateWrite)
    }

    deinit { munmap(mapping, mappedBytes) }
}
