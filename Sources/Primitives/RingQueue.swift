/// A first-in first-out queue in a circular buffer that grows by doubling and never shrinks.
@frozen public struct RingQueue<Element> {
    @usableFromInline var slots: [Element?] = Array(repeating: nil, count: 16)
    @usableFromInline var head = 0
    @usableFromInline var used = 0

    @inlinable public init() {}

    @inlinable public var count: Int { used }
    @inlinable public var isEmpty: Bool { used == 0 }

    @inlinable public mutating func append(_ element: Element) {
        if used == slots.count { grow() }
        slots[(head + used) & (slots.count - 1)] = element
        used += 1
    }

    @inlinable public mutating func popFirst() -> Element? {
        guard used > 0 else { return nil }
        let element = slots[head]
        slots[head] = nil
        head = (head + 1) & (slots.count - 1)
        used -= 1
        return element
    }

    @inlinable public var first: Element? { used > 0 ? slots[head] : nil }

    @usableFromInline mutating func grow() {
        var larger: [Element?] = []
        larger.reserveCapacity(slots.count * 2)
        for i in 0..<used { larger.append(slots[(head + i) & (slots.count - 1)]) }
        larger.append(contentsOf: repeatElement(nil, count: slots.count * 2 - used))
        slots = larger
        head = 0
    }
}
