/// True LRU over key numbers: a doubly linked list in arrays. What a policy is compared with.
struct LRU {
    /// Values it may hold; may change from access to access.
    var capacity = 0
    private var next: [Int32]
    private var previous: [Int32]
    private var isPresent: [Bool]
    private var count = 0
    /// The list's head and tail: one sentinel behind the last key.
    private let sentinel: Int

    init(keys: Int) {
        sentinel = keys
        next = Array(repeating: 0, count: keys + 1)
        previous = next
        isPresent = Array(repeating: false, count: keys)
        next[keys] = Int32(keys)
        previous[keys] = Int32(keys)
    }

    /// Uses a key; returns whether it was in RAM.
    mutating func access(_ key: Int) -> Bool {
        let hit = isPresent[key]
        if hit {
            unlink(key)
        } else {
            isPresent[key] = true
            count += 1
        }
        let first = Int(next[sentinel])
        next[key] = Int32(first)
        previous[key] = Int32(sentinel)
        previous[first] = Int32(key)
        next[sentinel] = Int32(key)
        while count > capacity {
            let last = Int(previous[sentinel])
            unlink(last)
            isPresent[last] = false
            count -= 1
        }
        return hit
    }

    private mutating func unlink(_ key: Int) {
        next[Int(previous[key])] = next[key]
        previous[Int(next[key])] = previous[key]
    }
}
