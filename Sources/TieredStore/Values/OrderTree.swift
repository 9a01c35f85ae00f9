import Glibc
import Primitives

/// A large sorted set's members in order of score, then of key: a B+tree that counts.
///
/// Shape:  leaf:  | kind 1, spare 1, count 2 | next 4 | previous 4 | spare 4 | scores 8 × 52 | cells 4 × 52 |
///         inner: | kind 1, spare 1, count 2 | spare 4 | last scores 8 × 31 | children 4 × 31 |
///         | members below 4 × 31 | last cells 4 × 31 |. Both are cells of 640 bytes of the heap.
/// Cost:   O(log n) for everything but visiting; a run in order fills its leaves.
/// Why:    a skip list (Redis) takes 40 bytes a member and a cache miss a step.
struct OrderTree {
    typealias Reference = CellHeap.Reference
    static let nodeBytes = 640
    static let leafMax = 52
    static let innerMax = 31

    let heap: CellHeap
    private var root: Reference = 0
    /// Levels of inner nodes.
    private var height = 0
    private(set) var count = 0

    init(_ heap: CellHeap) { self.heap = heap }

    // MARK: Nodes

    private struct Node {
        let at: UnsafeMutableRawPointer
        @inline(__always) init(_ at: UnsafeMutableRawPointer) { self.at = at }

        var isInner: Bool { at.load(as: UInt8.self) == 1 }
        var count: Int {
            @inline(__always) get { Int(at.load(fromByteOffset: 2, as: UInt16.self)) }
            nonmutating set { at.storeBytes(of: UInt16(newValue), toByteOffset: 2, as: UInt16.self) }
        }
        var next: Reference {
            get { at.load(fromByteOffset: 4, as: UInt32.self) }
            nonmutating set { at.storeBytes(of: newValue, toByteOffset: 4, as: UInt32.self) }
        }
        var previous: Reference {
            get { at.load(fromByteOffset: 8, as: UInt32.self) }
            nonmutating set { at.storeBytes(of: newValue, toByteOffset: 8, as: UInt32.self) }
        }
        private func words(_ offset: Int) -> UnsafeMutablePointer<UInt32> {
            (at + offset).assumingMemoryBound(to: UInt32.self)
        }
        /// Of a leaf's members; of an inner node's children, that of the last member.
        @inline(__always) var scores: UnsafeMutablePointer<Double> {
            (at + (isInner ? 8 : 16)).assumingMemoryBound(to: Double.self)
        }
        @inline(__always) var cells: UnsafeMutablePointer<UInt32> {
            words(isInner ? 8 + 16 * OrderTree.innerMax : 16 + 8 * OrderTree.leafMax)
        }
        var children: UnsafeMutablePointer<UInt32> { words(8 + 8 * OrderTree.innerMax) }
        var below: UnsafeMutablePointer<UInt32> { words(8 + 12 * OrderTree.innerMax) }

        /// Makes or closes a gap of one at `index`.
        func shift(_ index: Int, by step: Int) {
            let n = count
            let from = step > 0 ? index : index + 1, to = from + step
            memmove(scores + to, scores + from, (n - from) * 8)
            memmove(cells + to, cells + from, (n - from) * 4)
            if isInner {
                memmove(children + to, children + from, (n - from) * 4)
                memmove(below + to, below + from, (n - from) * 4)
            }
            count = n + step
        }

        /// Moves what stands from `index` on to the end of `other`.
        func moveTail(from index: Int, to other: Node) {
            let n = count - index, m = other.count
            memcpy(other.scores + m, scores + index, n * 8)
            memcpy(other.cells + m, cells + index, n * 4)
            if isInner {
                memcpy(other.children + m, children + index, n * 4)
                memcpy(other.below + m, below + index, n * 4)
            }
            other.count = m + n
            count = index
        }

        var total: Int {
            guard isInner else { return count }
            var sum = 0
            for i in 0..<count { sum += Int(below[i]) }
            return sum
        }
    }

    @inline(__always)
    private func node(_ reference: Reference) -> Node { Node(heap.pointer(reference)) }

    private func makeNode(inner: Bool) -> Reference {
        let reference = heap.allocate(OrderTree.nodeBytes)
        let at = heap.pointer(reference)
        memset(at, 0, 16)
        at.storeBytes(of: inner ? 1 : 0, as: UInt8.self)
        return reference
    }

    /// The way from the root to a leaf: nodes and the index taken in each.
    private struct Path {
        var nodes = InlineArray<16, Reference>(repeating: 0)
        var indices = InlineArray<16, Int>(repeating: 0)
    }

    @inline(__always)
    private func isBefore(_ score: Double, _ cell: Reference, _ wanted: Double, _ key: ByteView) -> Bool {
        if score != wanted { return score < wanted }
        return Member(heap.pointer(cell)).key < key
    }

    /// Finds where (score, key) is or belongs. A place behind the last member of a leaf is in it.
    private func descend(_ score: Double, _ key: ByteView) -> Path {
        var path = Path(), reference = root
        for level in 0...height {
            let node = node(reference), scores = node.scores, cells = node.cells
            var low = 0, high = level < height ? node.count - 1 : node.count
            while low < high {
                let middle = (low + high) >> 1
                if isBefore(scores[middle], cells[middle], score, key) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            path.nodes[level] = reference
            path.indices[level] = low
            if level < height { reference = node.children[low] }
        }
        return path
    }

    // MARK: Changing

    /// Adds a member that is not there.
    mutating func insert(_ score: Double, _ cell: Reference) {
        if root == 0 { root = makeNode(inner: false) }
        let path = descend(score, Member(heap.pointer(cell)).key)
        count += 1
        var reference = path.nodes[height], index = path.indices[height]
        var fresh: Reference = 0
        if node(reference).count == OrderTree.leafMax {
            fresh = splitLeaf(reference, at: index)
            if index > node(reference).count || index == OrderTree.leafMax {
                index -= node(reference).count
                reference = fresh
            }
        }
        let leaf = node(reference)
        leaf.shift(index, by: 1)
        leaf.scores[index] = score
        leaf.cells[index] = cell
        climb(path, fresh)
    }

    /// Cuts a full leaf in two: in the middle, or where a run in order goes on. Returns the right part.
    private func splitLeaf(_ reference: Reference, at index: Int) -> Reference {
        let fresh = makeNode(inner: false)
        let left = node(reference), right = node(fresh)
        let isRunUp = index == OrderTree.leafMax && left.next == 0
        let isRunDown = index == 0 && left.previous == 0
        left.moveTail(
            from: isRunUp ? OrderTree.leafMax : isRunDown ? 0 : OrderTree.leafMax / 2, to: right)
        right.next = left.next
        right.previous = reference
        left.next = fresh
        if right.next != 0 { node(right.next).previous = fresh }
        return fresh
    }

    /// Brings counts and last members up to date above a leaf that changed, and hangs in the node that
    /// was split off, if any.
    private mutating func climb(_ path: Path, _ split: Reference) {
        var fresh = split
        var level = height - 1
        while level >= 0 {
            let parent = node(path.nodes[level]), index = path.indices[level]
            describe(parent, index)
            if fresh != 0 { fresh = hang(fresh, path.nodes[level], index + 1) }
            level -= 1
        }
        guard fresh != 0 else { return }
        let top = makeNode(inner: true), node = node(top)
        node.count = 2
        node.children[0] = root
        node.children[1] = fresh
        describe(node, 0)
        describe(node, 1)
        root = top
        height += 1
    }

    /// What a parent knows of a child, afresh.
    private func describe(_ parent: Node, _ index: Int) {
        let child = node(parent.children[index])
        parent.below[index] = UInt32(child.total)
        guard child.count > 0 else { return }
        parent.scores[index] = child.scores[child.count - 1]
        parent.cells[index] = child.cells[child.count - 1]
    }

    /// Puts a child into a parent at `index`; returns the node split off the parent, or 0.
    private func hang(_ child: Reference, _ reference: Reference, _ index: Int) -> Reference {
        var parent = node(reference), index = index
        var fresh: Reference = 0
        if parent.count == OrderTree.innerMax {
            fresh = makeNode(inner: true)
            let cut = index == OrderTree.innerMax ? OrderTree.innerMax - 1 : OrderTree.innerMax / 2
            parent.moveTail(from: cut, to: node(fresh))
            if index > cut {
                index -= cut
                parent = node(fresh)
            }
        }
        parent.shift(index, by: 1)
        parent.children[index] = child
        describe(parent, index)
        return fresh
    }

    /// Takes a member out; its cell is still the caller's. False if it is not there.
    mutating func remove(_ score: Double, _ key: ByteView) -> Bool {
        guard root != 0 else { return false }
        let path = descend(score, key)
        let leaf = node(path.nodes[height]), index = path.indices[height]
        guard index < leaf.count, leaf.scores[index] == score,
            Member(heap.pointer(leaf.cells[index])).key == key
        else { return false }
        leaf.shift(index, by: -1)
        count -= 1
        var level = height - 1
        while level >= 0 {
            settle(node(path.nodes[level]), path.indices[level])
            level -= 1
        }
        collapse()
        return true
    }

    /// A child lost something: empty it goes, sparse it joins a neighbour.
    private func settle(_ parent: Node, _ index: Int) {
        let child = node(parent.children[index])
        if child.count == 0 {
            release(parent, index)
            return
        }
        describe(parent, index)
        let most = child.isInner ? OrderTree.innerMax : OrderTree.leafMax
        guard child.count < most / 4 else { return }
        for left in [index - 1, index] where left >= 0 && left + 1 < parent.count {
            let a = node(parent.children[left]), b = node(parent.children[left + 1])
            if a.count + b.count > most * 3 / 4 { continue }
            b.moveTail(from: 0, to: a)
            release(parent, left + 1)
            describe(parent, left)
            return
        }
    }

    /// Takes an empty child out of its parent.
    private func release(_ parent: Node, _ index: Int) {
        let reference = parent.children[index], child = node(reference)
        if !child.isInner {
            if child.previous != 0 { node(child.previous).next = child.next }
            if child.next != 0 { node(child.next).previous = child.previous }
        }
        heap.free(reference, OrderTree.nodeBytes)
        parent.shift(index, by: -1)
    }

    private mutating func collapse() {
        while height > 0, node(root).count == 1 {
            let only = node(root).children[0]
            heap.free(root, OrderTree.nodeBytes)
            root = only
            height -= 1
        }
        if height > 0, node(root).count == 0 {
            heap.free(root, OrderTree.nodeBytes)
            root = 0
            height = 0
        }
    }

    // MARK: Looking

    /// How many members stand before (score, key).
    func rank(_ score: Double, _ key: ByteView) -> Int {
        guard root != 0 else { return 0 }
        let path = descend(score, key)
        var rank = path.indices[height]
        for level in 0..<height {
            let node = node(path.nodes[level])
            for i in 0..<path.indices[level] { rank += Int(node.below[i]) }
        }
        return rank
    }

    /// The cell of a member, or 0.
    func find(_ score: Double, _ key: ByteView) -> Reference {
        guard root != 0 else { return 0 }
        let path = descend(score, key)
        let leaf = node(path.nodes[height]), index = path.indices[height]
        guard index < leaf.count, leaf.scores[index] == score,
            Member(heap.pointer(leaf.cells[index])).key == key
        else { return 0 }
        return leaf.cells[index]
    }

    /// How many members `isBefore` holds for; it holds for the first so many and no others.
    func rank(where isBefore: (Double, Member) -> Bool) -> Int {
        guard root != 0 else { return 0 }
        var rank = 0, reference = root
        for level in 0...height {
            let node = node(reference), scores = node.scores, cells = node.cells
            var low = 0, high = level < height ? node.count - 1 : node.count
            while low < high {
                let middle = (low + high) >> 1
                if isBefore(scores[middle], Member(heap.pointer(cells[middle]))) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            if level == height { return rank + low }
            for i in 0..<low { rank += Int(node.below[i]) }
            reference = node.children[low]
        }
        return rank
    }

    /// A place in the order, to go on from.
    struct Place {
        fileprivate var leaf: Reference
        fileprivate var index: Int
    }

    /// The place of the member with `rank` before it, which must exist.
    func place(rank: Int) -> Place {
        precondition(rank >= 0 && rank < count, "rank out of range")
        var reference = root, left = rank
        for _ in 0..<height {
            let node = node(reference)
            var i = 0
            while left >= Int(node.below[i]) {
                left -= Int(node.below[i])
                i += 1
            }
            reference = node.children[i]
        }
        return Place(leaf: reference, index: left)
    }

    @inline(__always)
    func cell(_ place: Place) -> Reference { node(place.leaf).cells[place.index] }

    @inline(__always)
    func score(_ place: Place) -> Double { node(place.leaf).scores[place.index] }

    /// Goes to the next place, or back to the one before; false at the end.
    @inline(__always)
    func advance(_ place: inout Place, backward: Bool) -> Bool {
        if backward {
            if place.index > 0 {
                place.index -= 1
                return true
            }
            place.leaf = node(place.leaf).previous
            guard place.leaf != 0 else { return false }
            place.index = node(place.leaf).count - 1
            return true
        }
        place.index += 1
        if place.index < node(place.leaf).count { return true }
        place.leaf = node(place.leaf).next
        place.index = 0
        return place.leaf != 0
    }
}
