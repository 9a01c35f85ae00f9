import Glibc
import Primitives

/// The memory of one large collection: cells of any size up to 8 KiB in chunks of 64 KiB, and larger
/// blocks on their own. Cells are known by reference, not by address.
///
/// Shape:  reference = | large 1 | chunk 18 | place in units of 8 bytes 13 |, or | 1 | number of a large
///         block 31 |. 0 is no cell. Free cells of a class are chained through their first four bytes.
/// Units:  chunks are extents; RAM is charged page by page as they fill.
/// Why:    a collection is freed by freeing its chunks, whatever it holds, and promoting it packs its
///         cells anew. Four bytes a reference are half of what pointers take.
final class CellHeap {
    typealias Reference = UInt32
    static let chunkBytes = 64 << 10
    static let cellBytesMax = 8 << 10
    private static let largeBit: Reference = 1 << 31
    private static let classCount = 72

    private unowned(unsafe) let extents: Extents
    private var chunks: UnsafeMutablePointer<UnsafeMutableRawPointer>
    private var chunkCount = 0
    private var chunkCapacity = 4
    /// Where the last chunk is free from.
    private var bump = CellHeap.chunkBytes
    private var large: [(memory: UnsafeMutableRawPointer, bytes: Int)?] = []
    private var freeLarge: [Int] = []
    private let free: UnsafeMutablePointer<Reference>
    /// Bytes in cells and blocks in use.
    private(set) var liveBytes = 0
    private var largeBytes = 0

    init(_ extents: Extents) {
        self.extents = extents
        chunks = .allocate(capacity: chunkCapacity)
        free = .allocate(capacity: CellHeap.classCount)
        free.initialize(repeating: 0, count: CellHeap.classCount)
    }

    deinit {
        while freeSome(chunks: .max) {}
        chunks.deallocate()
        free.deallocate()
    }

    /// Gives up to `limit` chunks or blocks back to the kernel; false when none is left. Nothing else
    /// may be asked of the heap afterwards.
    func freeSome(chunks limit: Int) -> Bool {
        var left = limit
        while left > 0 {
            left -= 1
            if let block = large.popLast() {
                if let block { extents.free(block.memory, bytes: block.bytes, charged: block.bytes) }
            } else if chunkCount > 0 {
                chunkCount -= 1
                extents.free(chunks[chunkCount], bytes: CellHeap.chunkBytes, charged: bump)
                bump = CellHeap.chunkBytes
            } else {
                return false
            }
        }
        return true
    }

    /// RAM the heap holds.
    var heldBytes: Int {
        let last = chunkCount == 0 ? 0 : Extents.pages(bump) - CellHeap.chunkBytes
        return chunkCount * CellHeap.chunkBytes + last + largeBytes
    }

    // MARK: Cells

    /// Class of a cell: steps of 8 bytes up to 256, then eight steps to a doubling.
    @inline(__always)
    private static func sizeClass(_ bytes: Int) -> (index: Int, bytes: Int) {
        if bytes <= 256 {
            let units = max(1, (bytes + 7) >> 3)
            return (units - 1, units << 3)
        }
        let shift = Int.bitWidth - 1 - (bytes - 1).leadingZeroBitCount - 3
        let mantissa = ((bytes - 1) >> shift) + 1  // 9…16
        return (32 + (shift - 5) * 8 + mantissa - 9, mantissa << shift)
    }

    /// Bytes a cell allocated for `bytes` has.
    @inline(__always)
    static func capacity(_ bytes: Int) -> Int {
        bytes <= cellBytesMax ? sizeClass(bytes).bytes : Extents.pages(bytes)
    }

    /// A cell of at least `bytes`. Its content is whatever was there.
    func allocate(_ bytes: Int) -> Reference {
        guard bytes <= CellHeap.cellBytesMax else { return allocateLarge(bytes) }
        let (index, size) = CellHeap.sizeClass(bytes)
        liveBytes += size
        let head = free[index]
        if head != 0 {
            free[index] = pointer(head).load(as: UInt32.self)
            return head
        }
        if bump + size > CellHeap.chunkBytes { addChunk() }
        let place = bump
        bump += size
        if !extents.charge(from: place, to: bump, reserve: StoreWorker.admitted) {
            fatalError("tierd: out of reserved address space")
        }
        return UInt32(chunkCount - 1) << 13 | UInt32(place >> 3)
    }

    private func addChunk() {
        if chunkCount > 0 {
            _ = extents.charge(from: bump, to: CellHeap.chunkBytes, reserve: StoreWorker.admitted)
        }
        guard let chunk = extents.allocate(
            CellHeap.chunkBytes, charging: chunkCount == 0 ? 8 : 0, reserve: StoreWorker.admitted),
            chunkCount < 1 << 18
        else { fatalError("tierd: out of reserved address space") }
        if chunkCount == chunkCapacity {
            let larger = UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: chunkCapacity * 2)
            larger.moveInitialize(from: chunks, count: chunkCount)
            chunks.deallocate()
            chunks = larger
            chunkCapacity *= 2
        }
        (chunks + chunkCount).initialize(to: chunk)
        chunkCount += 1
        // The first unit of the first chunk would be reference 0.
        bump = chunkCount == 1 ? 8 : 0
    }

    private func allocateLarge(_ bytes: Int) -> Reference {
        let size = Extents.pages(bytes)
        guard let memory = extents.allocate(size, charging: size, reserve: StoreWorker.admitted)
        else { fatalError("tierd: out of reserved address space") }
        liveBytes += size
        largeBytes += size
        if let number = freeLarge.popLast() {
            large[number] = (memory, size)
            return CellHeap.largeBit | UInt32(number)
        }
        large.append((memory, size))
        return CellHeap.largeBit | UInt32(large.count - 1)
    }

    /// Frees a cell allocated for `bytes`.
    func free(_ reference: Reference, _ bytes: Int) {
        if reference & CellHeap.largeBit != 0 {
            let number = Int(reference & ~CellHeap.largeBit)
            let block = large[number]!
            large[number] = nil
            freeLarge.append(number)
            extents.free(block.memory, bytes: block.bytes, charged: block.bytes)
            liveBytes -= block.bytes
            largeBytes -= block.bytes
            return
        }
        let (index, size) = CellHeap.sizeClass(bytes)
        pointer(reference).storeBytes(of: free[index], as: UInt32.self)
        free[index] = reference
        liveBytes -= size
    }

    @inline(__always)
    func pointer(_ reference: Reference) -> UnsafeMutableRawPointer {
        if reference & CellHeap.largeBit != 0 {
            return large[Int(reference & ~CellHeap.largeBit)]!.memory
        }
        return chunks[Int(reference >> 13)] + Int(reference & 0x1fff) << 3
    }
}
