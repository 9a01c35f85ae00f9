import Glibc
import Primitives

/// Pages for slabs, taken one at a time from one reserved range of addresses.
///
/// A page is numbered by its place in the range; number 0 is never handed out, so that a slot
/// of the index can say "empty" with offset 0. A page given back returns its RAM to the kernel, but
/// for a few while RAM is short: taking one of those again costs no page faults, which on a virtual
/// machine can take milliseconds.
final class PageArena: @unchecked Sendable {
    let space: AddressSpace
    let pageSize: Int
    let pageShift: Int
    let infos: UnsafeMutablePointer<PageInfo>
    private let infoSpace: AddressSpace
    private let ledger: Ledger
    private let lock = SpinLock()
    private var next: UInt32 = 1
    private var free: [UInt32] = []
    /// Free pages that still have their RAM.
    private var warm: [UInt32] = []
    private let pageCount: UInt32
    private let slabBytes: Int

    /// What the slabs know of a page. `live` and the lists are guarded by the owner's lock.
    struct PageInfo {
        var next: UInt32
        var previous: UInt32
        var live: UInt16
        var freeHead: UInt16
        var bump: UInt16
        var sizeClass: UInt16
        var owner: UInt8
        /// 0: in no list; else 1 + the fullness list it is in.
        var list: UInt8
    }

    init?(_ space: AddressSpace, options: StoreOptions, ledger: Ledger) {
        pageSize = options.pageSize
        pageShift = options.pageSize.trailingZeroBitCount
        self.ledger = ledger
        let pages = options.addressSpace >> pageShift
        let infoBytes = pages * MemoryLayout<PageInfo>.stride
        guard let infoSpace = AddressSpace(byteCount: infoBytes) else { return nil }
        self.space = space
        self.infoSpace = infoSpace
        infos = self.infoSpace.base.assumingMemoryBound(to: PageInfo.self)
        pageCount = UInt32(min(pages, Int(UInt32.max)))
        slabBytes = pages << pageShift
    }

    var base: UnsafeMutableRawPointer { space.base }

    /// Whether a cell stands in a slab; otherwise it is an extent.
    @inline(__always)
    func contains(_ cell: UnsafeMutableRawPointer) -> Bool { cell - base < slabBytes }

    func address(_ page: UInt32) -> UnsafeMutableRawPointer { base + (Int(page) << pageShift) }

    @inline(__always)
    func page(of cell: UnsafeMutableRawPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: (cell - base) >> pageShift)
    }

    /// RAM is short enough for empty pages to be wanted back at once.
    var isTight: Bool { ledger.used > ledger.limit / 8 * 7 }

    /// Pages kept warm at most: a 128th of the limit, up to 8 MiB. They do not count as used; the 1 % of
    /// `maxmemory` that the store is not given covers them.
    private var warmLimit: Int { min(ledger.limit >> 7, 8 << 20) >> pageShift }

    /// A page, or nil when the budget (plus `reserve` bytes) is used up.
    func take(reserve: Int) -> UInt32? {
        guard ledger.take(pageSize, reserve: reserve) else { return nil }
        lock.lock()
        defer { lock.unlock() }
        if let page = warm.popLast() ?? free.popLast() { return page }
        guard next < pageCount else {
            ledger.give(pageSize)
            return nil
        }
        next += 1
        return next - 1
    }

    func give(_ page: UInt32) {
        ledger.give(pageSize)
        if keepWarm(page) { return }
        space.release(offset: Int(page) << pageShift, count: pageSize)
        lock.lock()
        free.append(page)
        lock.unlock()
    }

    private func keepWarm(_ page: UInt32) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard isTight, warm.count < warmLimit else { return false }
        warm.append(page)
        return true
    }

    /// One past the highest page ever handed out.
    var highWater: UInt32 {
        lock.lock()
        defer { lock.unlock() }
        return next
    }
}
