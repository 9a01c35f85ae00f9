/// One fixed amount of work over the product's own modules: no sockets, no clock, nothing random that has no
/// seed, one thread. The same run is the same instructions.
public struct Workload: Sendable {
    public let name: String
    /// What one request of it is, for people.
    public let summary: String
    /// Requests the gate counts: a multiple of 16, enough that what is rare is met.
    public let count: Int
    private let setUp: @Sendable () -> Body

    /// Runs so many requests; may be called again and again. Traps if one of them was not answered as it
    /// should be.
    public typealias Body = (Int) -> Void

    init(_ name: String, _ summary: String, count: Int, _ setUp: @escaping @Sendable () -> Body) {
        precondition(count % Workbench.depth == 0, "whole batches")
        self.name = name
        self.summary = summary
        self.count = count
        self.setUp = setUp
    }

    /// Makes everything the requests need, and runs some, so that what happens once has happened.
    public func prepare() -> Body {
        let body = setUp()
        body(max(Workbench.depth, count / 4 / Workbench.depth * Workbench.depth))
        return body
    }

    public static let all: [Workload] = protocolWorkloads + indexWorkloads + stringWorkloads
        + collectionWorkloads + executionWorkloads + tierWorkloads

    public static func named(_ name: String) -> Workload? { all.first { $0.name == name } }
}
