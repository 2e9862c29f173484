"""How much faster do several processes train, with one thread each?

    python benchmarks/scaling.py PROCESSED                       1 and 2 processes, alternating
    python benchmarks/scaling.py PROCESSED --processes 2 4       on four cores or more

Each process has as many images in a step as one process alone (weak scaling: what more GPUs are usually for). Efficiency is the
rate divided by the number of processes and by the rate of one. Cores that share a physical core, or a chip that lowers its clock
when all cores work, cost efficiency, too: "apart" starts as many runs that do not talk to each other, which shows how much.
"""

from concurrent.futures import ThreadPoolExecutor

from common import images_per_second, parser, save, spread, table, train_once


def rate(args, processes: int, apart: bool = False) -> float:
    "Images a second of so many processes together; `apart`: of as many runs at once."

    def one(batch: int, ranks: int) -> float:
        options = f"--arch {args.arch} --input_size {args.size} --epochs {args.epochs} --batch_size {batch}"
        options += " --num_threads 1 --no_progressive"
        return images_per_second(train_once(args.processed, options, ranks), args.processed)

    if not apart:
        return one(args.batch * processes, processes)
    with ThreadPoolExecutor(processes) as pool:
        return sum(pool.map(lambda _: one(args.batch, 1), range(processes)))


def main():
    parse = parser(__doc__, processed=True)
    parse.add_argument("--processes", type=int, nargs="+", default=[2])
    parse.add_argument("--arch", default="vehicle_cnn")
    parse.add_argument("--size", type=int, default=128)
    parse.add_argument("--batch", type=int, default=32, help="images in a step of one process")
    parse.add_argument("--epochs", type=int, default=3, help="of a run; the first third warms up")
    parse.add_argument("--repeats", type=int, default=5)
    args = parse.parse_args()
    kinds = {f"{n} processes{' apart' * apart}": (n, apart) for n in args.processes for apart in (False, True)}
    rates = {name: [] for name in ("1 process", *kinds)}
    for _ in range(args.repeats):
        rates["1 process"].append(rate(args, 1))
        for name, (n, apart) in kinds.items():
            rates[name].append(rate(args, n, apart))
    efficiency = {name: [r / kinds[name][0] / one for r, one in zip(rates[name], rates["1 process"], strict=True)] for name in kinds}
    table([{"": name, "images/s": spread(r), "efficiency": spread(efficiency.get(name, [1.0]))} for name, r in rates.items()])
    save(args.name, rates=rates, efficiency=efficiency)


if __name__ == "__main__":
    main()
