import Primitives

/// One worker's slabs: pages cut into cells of one size each, for entries.
///
/// Shape of a page:  | owner UInt16 × cells | padding to 8 | cell | cell | …
///   owner: the stripe whose lock guards the cell, or 0x8000 | next free cell while it is free.
/// Any worker frees into any worker's slabs, under that owner's lock; allocation takes the
/// worker's own, which nobody else wants most of the time.
/// Why the owner word: a sparse page is emptied by moving its cells, and a cell may only be moved
/// under its stripe's lock; the word says which, without reading an entry that may be changing.
final class SlabAllocator: @unchecked Sendable {
    static let freeBit: UInt16 = 0x8000
    static let lists = 8

    let classes: SizeClasses
    let arena: PageArena
    let worker: UInt8
    let threaded: Bool
    let lock = SpinLock()
    /// Cells a page of each class holds, and where its first cell starts.
    let capacities: [UInt16]
    let starts: [Int]
    private var current: [UInt32]
    private var heads: [UInt32]
    /// The page being emptied, which is in no list; 0 when there is none or it has been given back.
    private var emptying: UInt32 = 0
    /// Bytes in cells that are in use, and in cells of held pages altogether.
    private(set) var liveBytes = 0
    private(set) var heldBytes = 0
    private(set) var pages = 0
    private var classPages: [Int]
    private var classLive: [Int]

    init(arena: PageArena, classes: SizeClasses, worker: Int, threaded: Bool) {
        self.arena = arena
        self.classes = classes
        self.worker = UInt8(worker)
        self.threaded = threaded
        let count = classes.sizes.count
        capacities = classes.sizes.map { size in
            var cells = arena.pageSize / (size + 2)
            while ((2 * cells + 7) & ~7) + cells * size > arena.pageSize { cells -= 1 }
            return UInt16(min(cells, 0x7fff))
        }
        starts = capacities.map { (2 * Int($0) + 7) & ~7 }
        current = [UInt32](repeating: 0, count: count)
        heads = [UInt32](repeating: 0, count: count * SlabAllocator.lists)
        classPages = [Int](repeating: 0, count: count)
        classLive = [Int](repeating: 0, count: count)
    }

    @inline(__always) func acquire() { if threaded { lock.lock() } }
    @inline(__always) func release() { if threaded { lock.unlock() } }

    @inline(__always)
    private func owners(_ page: UInt32) -> UnsafeMutablePointer<UInt16> {
        arena.address(page).assumingMemoryBound(to: UInt16.self)
    }

    /// A cell of at least `size` bytes for an entry of `stripe`, or nil when there is no RAM.
    /// Its bytes are whatever was there before.
    func allocate(_ size: Int, stripe: Int, reserve: Int = 0) -> UnsafeMutableRawPointer? {
        acquire()
        defer { release() }
        let sizeClass = classes.index(for: size)
        var page = current[sizeClass]
        if page == 0 || arena.infos[Int(page)].live == capacities[sizeClass] {
            guard let other = nextPage(sizeClass, reserve: reserve) else { return nil }
            page = other
            current[sizeClass] = page
        }
        let info = arena.infos + Int(page)
        let owners = owners(page)
        var cell = info.pointee.freeHead
        if cell != 0x7fff {
            info.pointee.freeHead = owners[Int(cell)] & 0x7fff
        } else {
            cell = info.pointee.bump
            info.pointee.bump += 1
        }
        owners[Int(cell)] = UInt16(truncatingIfNeeded: stripe)
        info.pointee.live += 1
        classLive[sizeClass] += 1
        liveBytes += classes.sizes[sizeClass]
        return arena.address(page) + starts[sizeClass] + Int(cell) * classes.sizes[sizeClass]
    }

    private func nextPage(_ sizeClass: Int, reserve: Int) -> UInt32? {
        var list = SlabAllocator.lists - 1
        while list >= 0 {
            let head = heads[sizeClass * SlabAllocator.lists + list]
            if head != 0 {
                unlink(head)
                return retire(sizeClass, for: head)
            }
            list -= 1
        }
        guard let page = arena.take(reserve: reserve) else { return nil }
        arena.infos[Int(page)] = PageArena.PageInfo(
            next: 0, previous: 0, live: 0, freeHead: 0x7fff, bump: 0,
            sizeClass: UInt16(sizeClass), owner: worker, list: 0)
        pages += 1
        classPages[sizeClass] += 1
        heldBytes += Int(capacities[sizeClass]) * classes.sizes[sizeClass]
        return retire(sizeClass, for: page)
    }

    /// The page in use makes way for `page`; it is full, so it joins no list.
    private func retire(_ sizeClass: Int, for page: UInt32) -> UInt32 {
        current[sizeClass] = page
        return page
    }

    @inline(__always)
    private func cellIndex(_ cell: UnsafeMutableRawPointer, _ page: UInt32, _ sizeClass: Int) -> Int {
        let within = (cell - arena.address(page)) - starts[sizeClass]
        return Int(UInt32(truncatingIfNeeded: within) / UInt32(truncatingIfNeeded: classes.sizes[sizeClass]))
    }

    /// Frees a cell of one of this allocator's pages. The caller holds the cell's stripe.
    func free(_ cell: UnsafeMutableRawPointer) {
        acquire()
        defer { release() }
        let page = arena.page(of: cell)
        let info = arena.infos + Int(page)
        let sizeClass = Int(info.pointee.sizeClass)
        let index = cellIndex(cell, page, sizeClass)
        owners(page)[index] = SlabAllocator.freeBit | info.pointee.freeHead
        info.pointee.freeHead = UInt16(truncatingIfNeeded: index)
        info.pointee.live -= 1
        classLive[sizeClass] -= 1
        liveBytes -= classes.sizes[sizeClass]
        if page == current[sizeClass] {
            guard info.pointee.live == 0, arena.isTight else { return }
            current[sizeClass] = 0
        }
        settle(page, info, sizeClass)
    }

    /// Puts a page that lost a cell where its fullness belongs, or gives it back when empty.
    private func settle(_ page: UInt32, _ info: UnsafeMutablePointer<PageArena.PageInfo>, _ sizeClass: Int) {
        if info.pointee.live == 0 {
            unlink(page)
            if page == emptying { emptying = 0 }
            pages -= 1
            classPages[sizeClass] -= 1
            heldBytes -= Int(capacities[sizeClass]) * classes.sizes[sizeClass]
            arena.give(page)
            return
        }
        if page == emptying { return }
        let fullness = Int(info.pointee.live) * SlabAllocator.lists / Int(capacities[sizeClass])
        let list = UInt8(min(fullness, SlabAllocator.lists - 1) + 1)
        if info.pointee.list == list { return }
        unlink(page)
        link(page, info, sizeClass, list)
    }

    private func link(
        _ page: UInt32, _ info: UnsafeMutablePointer<PageArena.PageInfo>, _ sizeClass: Int, _ list: UInt8
    ) {
        let head = sizeClass * SlabAllocator.lists + Int(list) - 1
        info.pointee.list = list
        info.pointee.previous = 0
        info.pointee.next = heads[head]
        if heads[head] != 0 { arena.infos[Int(heads[head])].previous = page }
        heads[head] = page
    }

    private func unlink(_ page: UInt32) {
        let info = arena.infos + Int(page)
        guard info.pointee.list != 0 else { return }
        let head = Int(info.pointee.sizeClass) * SlabAllocator.lists + Int(info.pointee.list) - 1
        let next = info.pointee.next, previous = info.pointee.previous
        if previous != 0 { arena.infos[Int(previous)].next = next } else { heads[head] = next }
        if next != 0 { arena.infos[Int(next)].previous = previous }
        info.pointee.list = 0
        info.pointee.next = 0
        info.pointee.previous = 0
    }

    /// Bytes a cell really has.
    @inline(__always)
    func capacity(of cell: UnsafeMutableRawPointer) -> Int {
        classes.sizes[Int(arena.infos[Int(arena.page(of: cell))].sizeClass)]
    }

    // MARK: Emptying sparse pages

    /// The sparsest page of the class with most free cells, when emptying it gains a page:
    /// nil while no class holds at least one page's worth of free cells beside it. One page at a time:
    /// until it is restored or has been given back.
    func sparsestPage() -> (page: UInt32, sizeClass: Int)? {
        acquire()
        defer { release() }
        precondition(emptying == 0, "a page is being emptied")
        guard let best = sparsestClass else { return nil }
        for list in 0..<SlabAllocator.lists {
            let head = heads[best * SlabAllocator.lists + list]
            if head != 0 {
                unlink(head)
                emptying = head
                return (head, best)
            }
        }
        return nil
    }

    /// The class with most bytes in free cells, if those are worth two pages.
    private var sparsestClass: Int? {
        var best: Int?, bestFree = 0
        for sizeClass in classPages.indices where classPages[sizeClass] > 1 {
            let capacity = Int(capacities[sizeClass])
            let free = (classPages[sizeClass] * capacity - classLive[sizeClass]) * classes.sizes[sizeClass]
            if free >= 2 * capacity * classes.sizes[sizeClass], free > bestFree {
                best = sizeClass
                bestFree = free
            }
        }
        return best
    }

    /// Stripe that owns cell `index` of `page`, or nil when it is free. The page is one this worker
    /// is emptying: if it was given back meanwhile, or is another's by now, nothing in it is ours.
    func owner(_ page: UInt32, _ index: Int) -> Int? {
        acquire()
        defer { release() }
        guard page == emptying, index < Int(arena.infos[Int(page)].bump) else { return nil }
        let word = owners(page)[index]
        return word & SlabAllocator.freeBit == 0 ? Int(word) : nil
    }

    func cell(_ page: UInt32, _ index: Int, _ sizeClass: Int) -> UnsafeMutableRawPointer {
        arena.address(page) + starts[sizeClass] + index * classes.sizes[sizeClass]
    }

    /// Puts a page that could not be emptied back into its list.
    func restore(_ page: UInt32) {
        acquire()
        defer { release() }
        guard page == emptying else { return }
        emptying = 0
        let info = arena.infos + Int(page)
        settle(page, info, Int(info.pointee.sizeClass))
    }

    /// Whether an entry of `size` bytes fits without taking another page.
    func hasFreeCell(_ size: Int) -> Bool {
        guard size <= classes.largest else { return false }
        acquire()
        defer { release() }
        let sizeClass = classes.index(for: size)
        return classLive[sizeClass] + 2 < classPages[sizeClass] * Int(capacities[sizeClass])
    }

    /// Whether emptying a sparse page would gain one.
    var canBeEmptied: Bool {
        acquire()
        defer { release() }
        return sparsestClass != nil
    }

    /// What the allocator holds, read under its lock.
    var usage: (live: Int, held: Int, pages: Int) {
        acquire()
        defer { release() }
        return (liveBytes, heldBytes, pages)
    }
}
