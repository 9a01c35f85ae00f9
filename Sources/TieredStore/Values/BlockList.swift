import Glibc
import Primitives

/// The elements of a large list: packed into blocks, the blocks in a row.
///
/// Shape:  a block is a cell of 4 KiB of the heap with entries somewhere in its middle, so that both ends
///         grow without moving the rest; an element that is longer has a block to itself. `blocks` is one
///         array with free places at both ends.
/// Cost:   O(1) at the ends; elsewhere O(blocks) to find the block, and within it O(its elements).
struct BlockList {
    static let blockBytes = 4096

    private struct Block {
        var cell: CellHeap.Reference
        var capacity: UInt32
        var start: UInt32
        var end: UInt32
        var count: UInt32
        var used: Int { Int(end - start) }
    }

    /// Where an element stands.
    struct Place {
        fileprivate(set) var block: Int
        fileprivate(set) var offset: Int
    }

    let heap: CellHeap
    private(set) var count = 0
    private var blocks: UnsafeMutablePointer<Block>
    private var capacity = 8
    private var first = 4
    private var last = 4  // one behind the last

    init(_ heap: CellHeap) {
        self.heap = heap
        blocks = .allocate(capacity: 8)
    }

    func deallocate() { blocks.deallocate() }

    var blockCount: Int { last - first }

    // MARK: Blocks

    private func base(_ i: Int) -> UnsafeMutableRawPointer { heap.pointer(blocks[i].cell) }

    private func makeBlock(_ bytes: Int, atEnd: Bool) -> Block {
        let capacity = max(bytes, BlockList.blockBytes)
        let start = UInt32(atEnd ? 0 : capacity)
        return Block(
            cell: heap.allocate(capacity), capacity: UInt32(capacity), start: start, end: start, count: 0)
    }

    /// Puts a block in front of block `i`; returns its number. Later numbers may have changed.
    private mutating func insertBlock(_ block: Block, at i: Int) -> Int {
        var i = i
        if first == 0 || last == capacity { i += spread() }
        if i - first < last - i {
            memmove(blocks + first - 1, blocks + first, (i - first) * MemoryLayout<Block>.stride)
            first -= 1
            i -= 1
        } else {
            memmove(blocks + i + 1, blocks + i, (last - i) * MemoryLayout<Block>.stride)
            last += 1
        }
        blocks[i] = block
        return i
    }

    /// Moves the blocks into the middle of a row with room; returns how far.
    private mutating func spread() -> Int {
        let n = last - first
        let size = max(8, n * 2)
        let fresh = UnsafeMutablePointer<Block>.allocate(capacity: size)
        let start = (size - n) / 2
        (fresh + start).moveInitialize(from: blocks + first, count: n)
        blocks.deallocate()
        blocks = fresh
        let distance = start - first
        capacity = size
        first = start
        last = start + n
        return distance
    }

    private mutating func removeBlock(_ i: Int) {
        heap.free(blocks[i].cell, Int(blocks[i].capacity))
        if i - first < last - i - 1 {
            memmove(blocks + first + 1, blocks + first, (i - first) * MemoryLayout<Block>.stride)
            first += 1
        } else {
            memmove(blocks + i, blocks + i + 1, (last - i - 1) * MemoryLayout<Block>.stride)
            last -= 1
        }
    }

    // MARK: Ends

    mutating func pushBack(_ element: ByteView) {
        let size = Packed.size(element)
        if first == last || Int(blocks[last - 1].capacity - blocks[last - 1].end) < size {
            _ = insertBlock(makeBlock(size, atEnd: true), at: last)
        }
        let i = last - 1
        Packed.write(element, base(i) + Int(blocks[i].end))
        blocks[i].end += UInt32(size)
        blocks[i].count += 1
        count += 1
    }

    mutating func pushFront(_ element: ByteView) {
        let size = Packed.size(element)
        if first == last || Int(blocks[first].start) < size {
            _ = insertBlock(makeBlock(size, atEnd: false), at: first)
        }
        blocks[first].start -= UInt32(size)
        Packed.write(element, base(first) + Int(blocks[first].start))
        blocks[first].count += 1
        count += 1
    }

    // MARK: Finding

    /// The place of element `index`, which must exist.
    func place(_ index: Int) -> Place {
        precondition(index >= 0 && index < count, "list index out of range")
        var i: Int, before: Int
        if index < count / 2 {
            i = first
            before = 0
            while before + Int(blocks[i].count) <= index {
                before += Int(blocks[i].count)
                i += 1
            }
        } else {
            i = last - 1
            before = count - Int(blocks[i].count)
            while before > index {
                i -= 1
                before -= Int(blocks[i].count)
            }
        }
        let inside = index - before, n = Int(blocks[i].count)
        if inside < n / 2 {
            var at = UnsafeRawPointer(base(i)) + Int(blocks[i].start)
            for _ in 0..<inside { at += Packed.read(at).size }
            return Place(block: i, offset: at - UnsafeRawPointer(base(i)))
        }
        var at = UnsafeRawPointer(base(i)) + Int(blocks[i].end)
        for _ in inside..<n { at = Packed.previous(at) }
        return Place(block: i, offset: at - UnsafeRawPointer(base(i)))
    }

    @inline(__always)
    func element(_ place: Place) -> Element { Packed.read(base(place.block) + place.offset).element }

    /// Goes to the next element, or back to the one before; false at the end.
    func advance(_ place: inout Place, backward: Bool) -> Bool {
        let block = blocks[place.block]
        if backward {
            if place.offset > Int(block.start) {
                let base = UnsafeRawPointer(base(place.block))
                place.offset = Packed.previous(base + place.offset) - base
                return true
            }
            guard place.block > first else { return false }
            place.block -= 1
            let end = base(place.block) + Int(blocks[place.block].end)
            place.offset = Packed.previous(end) - UnsafeRawPointer(base(place.block))
            return true
        }
        place.offset += Packed.read(base(place.block) + place.offset).size
        if place.offset < Int(block.end) { return true }
        guard place.block + 1 < last else { return false }
        place.block += 1
        place.offset = Int(blocks[place.block].start)
        return true
    }

    /// Visits `n` elements from `place` on: a range of a long list, block by block.
    @inline(__always)
    func forEach(from place: Place, count n: Int, _ visit: (Element) -> Void) {
        var left = n, block = place.block, offset = place.offset
        while left > 0 {
            let base = UnsafeRawPointer(base(block)), end = Int(blocks[block].end)
            while offset < end, left > 0 {
                let (element, size) = Packed.read(base + offset)
                visit(element)
                offset += size
                left -= 1
            }
            block += 1
            if block < last { offset = Int(blocks[block].start) } else { return }
        }
    }

    // MARK: Changing inside

    /// Takes the element at `place` out. `place` is then that of the next one, if there is one; false at
    /// the end of the list.
    @discardableResult
    mutating func remove(_ place: inout Place) -> Bool {
        let i = place.block, size = Packed.read(base(i) + place.offset).size
        place.offset = cut(i, place.offset, size)
        blocks[i].count -= 1
        count -= 1
        if blocks[i].count == 0 {
            let isLast = i == last - 1, oldFirst = first
            removeBlock(i)
            if isLast { return false }
            place.block = first == oldFirst ? i : i + 1
            place.offset = Int(blocks[place.block].start)
            return true
        }
        join(i, &place)
        if place.offset < Int(blocks[place.block].end) { return true }
        guard place.block + 1 < last else { return false }
        place.block += 1
        place.offset = Int(blocks[place.block].start)
        return true
    }

    /// Closes the gap of `size` bytes at `offset`, moving the shorter side. Returns where what followed
    /// the gap is now.
    private func cut(_ i: Int, _ offset: Int, _ size: Int) -> Int {
        let base = base(i), start = Int(blocks[i].start), end = Int(blocks[i].end)
        if offset - start < end - offset - size {
            memmove(base + start + size, base + start, offset - start)
            blocks[i].start += UInt32(size)
            return offset + size
        }
        memmove(base + offset, base + offset + size, end - offset - size)
        blocks[i].end -= UInt32(size)
        return offset
    }

    /// Two sparse neighbours become one block; `place`, in the first of them, stays what it was.
    private mutating func join(_ i: Int, _ place: inout Place) {
        guard i + 1 < last, blocks[i].used + blocks[i + 1].used <= BlockList.blockBytes / 2,
            Int(blocks[i].capacity) == BlockList.blockBytes
        else { return }
        let base = base(i), start = Int(blocks[i].start), used = blocks[i].used
        memmove(base, base + start, used)
        (base + used).copyMemory(
            from: self.base(i + 1) + Int(blocks[i + 1].start), byteCount: blocks[i + 1].used)
        place.offset -= start
        blocks[i].start = 0
        blocks[i].end = UInt32(used + blocks[i + 1].used)
        blocks[i].count += blocks[i + 1].count
        let oldFirst = first
        removeBlock(i + 1)
        if first != oldFirst { place.block += 1 }
    }

    /// Puts an element in front of the one at `place`, or behind it.
    mutating func insert(_ element: ByteView, at place: Place, after: Bool) {
        let size = Packed.size(element)
        var i = place.block, offset = place.offset
        if after { offset += Packed.read(base(i) + offset).size }
        if Int(blocks[i].capacity) - blocks[i].used < size {
            (i, offset) = makeRoom(i, offset, size)
        }
        offset = open(i, offset, size)
        Packed.write(element, base(i) + offset)
        blocks[i].count += 1
        count += 1
    }

    /// Opens a gap of `size` bytes at `offset` of a block that has room; returns where it is.
    private func open(_ i: Int, _ offset: Int, _ size: Int) -> Int {
        let base = base(i), start = Int(blocks[i].start), end = Int(blocks[i].end)
        let roomBehind = Int(blocks[i].capacity) - end
        if roomBehind >= size, start < size || end - offset <= offset - start {
            memmove(base + offset + size, base + offset, end - offset)
            blocks[i].end += UInt32(size)
            return offset
        }
        if start >= size {
            memmove(base + start - size, base + start, offset - start)
            blocks[i].start -= UInt32(size)
            return offset - size
        }
        memmove(base, base + start, offset - start)
        memmove(base + offset - start + size, base + offset, end - offset)
        blocks[i].start = 0
        blocks[i].end = UInt32(end - start + size)
        return offset - start
    }

    /// Cuts block `i` in two at `offset`, so that `size` bytes have room there: at the end of the first
    /// part, or in a block of their own between the parts. Returns where.
    private mutating func makeRoom(_ i: Int, _ offset: Int, _ size: Int) -> (Int, Int) {
        let start = Int(blocks[i].start), end = Int(blocks[i].end)
        guard offset > start, offset < end else {
            return (insertBlock(makeBlock(size, atEnd: true), at: offset == start ? i : i + 1), 0)
        }
        var tail = makeBlock(end - offset, atEnd: true)
        heap.pointer(tail.cell).copyMemory(from: base(i) + offset, byteCount: end - offset)
        tail.end = UInt32(end - offset)
        var at = UnsafeRawPointer(base(i)) + offset
        let limit = UnsafeRawPointer(base(i)) + end
        while at < limit {
            at += Packed.read(at).size
            tail.count += 1
        }
        blocks[i].end = UInt32(offset)
        blocks[i].count -= tail.count
        let head = insertBlock(tail, at: i + 1) - 1
        if Int(blocks[head].capacity) - blocks[head].used >= size { return (head, offset) }
        return (insertBlock(makeBlock(size, atEnd: true), at: head + 1), 0)
    }

    /// Replaces the element at `place`.
    mutating func replace(_ place: Place, by element: ByteView) {
        let i = place.block, size = Packed.size(element)
        let old = Packed.read(base(i) + place.offset).size
        if old == size {
            Packed.write(element, base(i) + place.offset)
        } else if Int(blocks[i].capacity) - blocks[i].used + old >= size {
            let offset = open(i, cut(i, place.offset, old), size)
            Packed.write(element, base(i) + offset)
        } else {
            var next = place
            if remove(&next) { insert(element, at: next, after: false) } else { pushBack(element) }
        }
    }

    // MARK: Encoding

    /// Bytes block number `i` (0…) takes as a listpack, and its writing.
    func listpackBytes(_ i: Int) -> Int { blocks[first + i].used + Listpack.emptySize }

    func writeListpack(_ i: Int, _ p: UnsafeMutableRawPointer) {
        let block = blocks[first + i]
        (p + Listpack.headerSize).copyMemory(from: base(first + i) + Int(block.start), byteCount: block.used)
        Listpack.seal(p, bytes: listpackBytes(i), count: Int(block.count))
    }
}
