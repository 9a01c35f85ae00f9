import Testing
import Workloads

/// Every workload of the gate runs, and finds its requests answered: it traps if they are not.
@Test(arguments: Workload.all.map(\.name))
func runs(_ name: String) throws {
    let workload = try #require(Workload.named(name))
    workload.prepare()(64)
}

/// `tools/gate` tells workloads by their names.
@Test func namesAreUnique() {
    #expect(Set(Workload.all.map(\.name)).count == Workload.all.count)
}
