"""Made tools, part one: numbers, science, money. The notation is described in `typed.py`."""

from __future__ import annotations

CATALOG = """
@ geometry
calc triangle area | Compute the area of a triangle from base and height.
 base: int(2,60) | Length of the base
 height: int(2,60) | Height perpendicular to the base
 unit?: enum(cm/m/inches/feet) = cm | Unit of the lengths | in {unit}
> What is the area of a triangle with base {base} and height {height}
> Work out the area of a triangle that has a base of {base} and is {height} high
~ base {base} and height {height}
! Calculate the area of my triangle, its base is quite long.
calc circle circumference | Circumference of a circle.
 radius: num(1,50,1) | Radius of the circle
 decimals?: int(1,5) = 2 | Decimal places of the result | with {decimals} decimal places
> Find the circumference of a circle with radius {radius}
> How long is the edge of a circle whose radius is {radius}
~ radius {radius}
get rectangle properties | Returns properties of a rectangle such as area and perimeter.
 length: num(2,80,1) | The longer side
 width: num(1,40,1) | The shorter side
 properties?: [enum(area/perimeter/diagonal)](1,3) = all | Which properties to return | and give me its {properties}
> I have a rectangle {length} long and {width} wide, describe it
> Analyse a rectangle with length {length} and width {width}
compute volume cylinder | Volume of a cylinder given radius and height.
 radius: int(1,30) | Radius of the base
 height: int(1,90) | Height of the cylinder
> What volume does a cylinder of radius {radius} and height {height} have
> Compute how much a cylinder with radius {radius} and height {height} can hold
~ radius {radius} and height {height}
measure distance between points | Euclidean distance between two points in the plane.
 point_a: [int(-20,20)](2,2) | Coordinates of the first point as [x, y]
 point_b: [int(-20,20)](2,2) | Coordinates of the second point as [x, y]
> What is the distance between the points {point_a} and {point_b}
> Measure how far {point_a} is from {point_b}
~ {point_a} and {point_b}
@ math
solve quadratic | Roots of the quadratic equation a*x^2 + b*x + c = 0.
 a: int(1,12) | Coefficient of x squared
 b: int(-15,20) | Coefficient of x
 c: int(-20,20) | Constant term
 root_type?: enum(real/all) = real | Kind of roots to return | returning {root_type} roots
> Find the roots of a quadratic equation with a={a}, b={b} and c={c}
> Solve the quadratic whose coefficients are a = {a}, b = {b}, c = {c}
~ a={a}, b={b}, c={c}
! Solve a quadratic equation for me, please.
compute gcd | Greatest common divisor of two integers.
 num1: int(6,400) | First integer
 num2: int(6,400) | Second integer
> What is the greatest common divisor of {num1} and {num2}
> Find the gcd of {num1} and {num2}
~ {num1} and {num2}
list primes | All prime numbers in an interval.
 start: int(1,40) | Lower end of the interval, inclusive
 end: int(50,300) | Upper end of the interval, inclusive
> Which prime numbers lie between {start} and {end}
> List the primes from {start} to {end}
~ from {start} to {end}
compute factorial | Factorial of a non-negative integer.
 n: int(2,25) | The number
> What is the factorial of {n}
> Calculate {n} factorial
~ {n}
fibonacci sequence | First numbers of the Fibonacci sequence.
 count: int(5,60) | How many numbers to generate
 as_text?: bool = false | Return the numbers as one string | as one string // as numbers, not as text
> Generate the first {count} Fibonacci numbers
> Give me {count} terms of the Fibonacci sequence
integrate function | Numerical integral of a function over an interval.
 function: poly | Expression in x to integrate, in Python syntax
 lower: num(0,3,1) | Lower limit
 upper: num(4,12,1) | Upper limit
 method?: enum(simpson/trapezoid) = simpson | Integration rule | using the {method} rule
> Integrate {function} from {lower} to {upper}
> What is the area under {function} between x = {lower} and x = {upper}
~ {function} from {lower} to {upper}
multiply matrices | Product of two matrices.
 left: [[int(0,9)](2,2)](2,2) | Left matrix as a list of rows
 right: [[int(0,9)](2,2)](2,2) | Right matrix as a list of rows
> Multiply the matrices {left} and {right}
> What is the matrix product of {left} and {right}
@ statistics
compute mean | Arithmetic mean of a list of numbers.
 values: [int(1,99)](3,7) | The numbers to average
> What is the average of {values}
> Compute the mean of {values}
~ {values}
standard deviation | Standard deviation of numbers.
 data: [num(1,50,1)](3,6) | Observations
 sample?: bool = true | True for the sample formula, false for the population formula | as a sample // for a whole population
> Find the standard deviation of {data}
> How spread out are the values {data} in terms of standard deviation
sort numbers | Sorts a list of numbers.
 numbers: [int(-50,150)](4,8) | Numbers to sort
 order?: enum(ascending/descending) = ascending | Sort direction | in {order} order
> Sort the numbers {numbers}
> Put {numbers} in order
~ {numbers}
run t test | Two-sample t-test.
 group_a: [num(1,20,1)](3,5) | Measurements of the first group
 group_b: [num(1,20,1)](3,5) | Measurements of the second group
 equal_variance?: bool = true | Assume equal variances | assuming equal variances // without assuming equal variances
> Run a t-test on {group_a} against {group_b}
> Compare the groups {group_a} and {group_b} with a t-test
binomial probability | Probability of k successes in n trials.
 n: int(5,40) | Number of trials
 k: int(1,5) | Number of successes
 p: num(0.05,0.95,2) | Chance of success in one trial, between 0 and 1
> What is the probability of exactly {k} successes in {n} trials when the chance is {p}
> Compute the binomial probability with n={n}, k={k}, p={p}
~ n={n}, k={k}, p={p}
roll dice | Rolls dice.
 dice: int(1,6) | Number of dice
 sides?: int(8,20) = 6 | Sides of each die | each with {sides} sides
> Roll {dice} dice
> Throw {dice} dice for our game
linear regression | Fits a line to points.
 x: [int(1,20)](3,5) | Values of the independent variable
 y: [int(1,60)](3,5) | Values of the dependent variable
 predict_at?: num(5,50,1) | x at which to predict y | and predict the value at {predict_at}
> Fit a linear regression to x = {x} and y = {y}
> Fit a straight line through x values {x} with y values {y}
@ physics
final velocity | Velocity of an object under constant acceleration.
 initial_velocity: num(0,40,1) | Starting speed in m/s
 acceleration: num(1,12,1) | Acceleration in m/s^2
 time: int(2,60) | Duration in seconds
> How fast is an object after {time} seconds if it starts at {initial_velocity} m/s and accelerates at {acceleration} m/s^2
> Compute the final speed of a car starting at {initial_velocity} m/s with an acceleration of {acceleration} m/s^2 for {time} seconds
~ {initial_velocity} m/s, {acceleration} m/s^2 and {time} seconds
kinetic energy | Kinetic energy of a moving body in joules.
 mass: num(1,900,1) | Mass in kilograms
 velocity: num(1,80,1) | Speed in metres per second
> What is the kinetic energy of a {mass} kg object moving at {velocity} m/s
> Calculate the kinetic energy for a mass of {mass} kg and a velocity of {velocity} m/s
~ {mass} kg at {velocity} m/s
! How much kinetic energy does the ball have?
free fall time | Time a body needs to fall from a height.
 height: int(5,500) | Height in metres
 gravity?: num(1.5,12,2) = 9.81 | Gravitational acceleration in m/s^2 | with gravity of {gravity} m/s^2
> How long does a stone need to fall from {height} metres
> Find the fall time from a height of {height} m
~ {height} metres
electric field | Electric field of a point charge.
 charge: num(1,9,1) | Charge in coulombs
 distance: int(1,50) | Distance from the charge in metres
 medium?: enum(vacuum/water/glass) = vacuum | Medium around the charge | in {medium}
> What is the electric field {distance} metres away from a charge of {charge} coulombs
> Compute the field of a {charge} coulomb charge at a distance of {distance} m
~ {charge} coulombs at {distance} m
ohms law | Current through a resistor.
 voltage: int(3,240) | Voltage in volts
 resistance: int(2,900) | Resistance in ohms
> What current flows through {resistance} ohms at {voltage} volts
> Calculate the current for a voltage of {voltage} V across a {resistance} ohm resistor
~ {voltage} volts and {resistance} ohms
lens magnification | Image position of a thin lens.
 focal_length: num(2,40,1) | Focal length in centimetres
 object_distance: num(10,200,1) | Distance of the object in centimetres
> Where does a lens with a focal length of {focal_length} cm form the image of an object {object_distance} cm away
heat needed | Energy to warm up a material.
 material: pool(material) | Material to heat
 mass: num(0.5,30,1) | Mass in kilograms
 delta_t: int(5,90) | Temperature rise in degrees Celsius
> How much energy is needed to heat {mass} kg of {material} by {delta_t} degrees
~ {mass} kg of {material} by {delta_t} degrees
@ chemistry
molar mass | Molar mass of a substance.
 compound: pool(molecule) | Name of the substance
 precision?: int(1,5) = 3 | Number of decimals | to {precision} decimals
> What is the molar mass of {compound}
> Look up the molar mass of {compound}
~ {compound}
element facts | Facts on a chemical element.
 element: pool(element) | Name of the element
 facts?: [enum(atomic number/density/melting point/group)](1,3) = all | Facts to return | I only need the {facts}
> Tell me about the element {element}
> Give me data on {element} as a chemical element
~ {element}
dilute solution | Volume of solvent needed to dilute a solution.
 start_molarity: num(1,12,1) | Molarity before, in mol/L
 end_molarity: num(0.1,0.9,1) | Molarity after, in mol/L
 volume: int(10,800) | Volume of the starting solution in millilitres
> How much solvent do I add to {volume} ml of a {start_molarity} M solution to reach {end_molarity} M
balance equation | Balances a chemical equation.
 reactants: [enum(H2/O2/Fe/CH4/N2/Na/Cl2)](2,2) | Formulas of the reactants
 products: [enum(H2O/Fe2O3/CO2/NH3/NaCl)](1,2) | Formulas of the products
> Balance the reaction of {reactants} that gives {products}
> Balance a chemical equation with reactants {reactants} and products {products}
@ biology
cell division count | Number of cells after repeated division.
 start: int(1,500) | Number of cells at the beginning
 divisions: int(2,20) | How often every cell divides
> How many cells are there if {start} cells divide {divisions} times
~ {start} cells and {divisions} divisions
gene info | Information on a human gene.
 gene: pool(gene) | Symbol of the gene
 species?: enum(human/mouse/rat) = human | Organism | in the {species} genome
 include_variants?: bool = false | Whether to list known variants | and list its known variants // without variants
> Look up the gene {gene}
> What is known about {gene}
~ {gene}
species population | Estimated population of a species in a region.
 species: pool(animal) | Common name of the species
 region: pool(country) | Country or region
 year?: int(1990,2024) = 2023 | Year of the estimate | in {year}
> How many {species} live in {region}
> Find the estimated population of {species} in {region}
~ {species} in {region}
bmi | Body mass index of a person.
 weight: num(45,120,1) | Weight in kilograms
 height: int(150,200) | Height in centimetres
> Calculate the BMI of someone who weighs {weight} kg and is {height} cm tall
> What is my body mass index at {weight} kg and {height} cm
~ {weight} kg and {height} cm
calories burned | Calories burned by an activity.
 activity: pool(exercise) | Kind of activity
 minutes: int(10,120) | Duration in minutes
 body_weight?: int(50,110) = 70 | Body weight in kilograms | for a person of {body_weight} kg
> How many calories does {minutes} minutes of {activity} burn
~ {minutes} minutes of {activity}
daily water | Recommended daily water intake in litres.
 weight: int(45,110) | Body weight in kilograms
 active: enum(low/moderate/high) | Activity level
 hot_climate?: bool = false | True in hot climates | in a hot climate // in a cool climate
> How much water should a person of {weight} kg with a {active} activity level drink a day
@ finance
loan payment | Monthly payment of a loan.
 principal: int(1000,400000,500) | Amount borrowed
 annual_rate: rate | Yearly interest rate
 years: int(2,30) | Term in years
> What would I pay each month on a loan of {principal} dollars at {annual_rate} interest over {years} years
> Calculate the monthly payment for a ${principal} loan with {annual_rate} yearly interest and a {years} year term
~ ${principal} at {annual_rate} over {years} years
! How much is the monthly payment on my loan?
compound interest | Value of an investment with compound interest.
 principal: int(500,90000,100) | Amount invested at the start
 rate: rate | Annual interest rate
 years: int(1,30) | Number of years
 frequency?: int(2,12) = 1 | How often interest is added in a year | with interest added {frequency} times a year
> How much will {principal} dollars be worth after {years} years at {rate} interest
> Compute the future value of ${principal} invested for {years} years at a rate of {rate}
~ ${principal} for {years} years at {rate}
convert currency | Converts an amount between currencies.
 amount: num(5,5000,2) | Amount to convert
 from_currency: pool(currency) | Code of the currency to convert from
 to_currency: pool(currency) | Code of the currency to convert to
> How much is {amount} {from_currency} in {to_currency}
> Convert {amount} {from_currency} to {to_currency}
~ {amount} {from_currency} to {to_currency}
stock price | Price of a stock.
 symbol: pool(ticker) | Ticker symbol
 date?: date | Trading day in YYYY-MM-DD format | on {date}
 adjusted?: bool = false | Adjust for splits and dividends | adjusted for splits // without adjustment
> What is the stock price of {symbol}
> Get the share price of {symbol}
~ {symbol}
portfolio allocate | Splits a sum over several assets.
 total: int(1000,90000,1000) | Sum to invest in dollars
 assets: [pool(ticker)](2,4) | Ticker symbols
 strategy?: enum(equal/value/growth) = equal | How to weigh the assets | with a {strategy} strategy
> Spread {total} dollars over {assets}
> Allocate an investment of ${total} among {assets}
tax due | Income tax due.
 income: int(15000,250000,500) | Yearly taxable income
 state: pool(state) | State of residence
 filing_status?: enum(single/married/head of household) = single | Filing status | filing as {filing_status}
> How much tax do I owe on an income of ${income} in {state}
> Estimate the taxes for {income} dollars of income in {state}
~ ${income} in {state}
return on investment | Return on an investment in percent.
 cost: int(100,50000,50) | What was paid
 gain: int(100,90000,50) | What was received
 years?: int(1,10) = 1 | Holding period in years | held for {years} years
> What is the return on an investment that cost {cost} dollars and brought {gain}
~ cost {cost}, gain {gain}
tip amount | Tip for a bill.
 bill: num(8,300,2) | Bill total
 percent: pct(5,25) | Tip in percent
 people?: int(2,9) = 1 | Number of people who share the bill | shared by {people} people
> How much is a {percent} tip on a bill of ${bill}
> Work out a tip of {percent} for a {bill} dollar bill
~ {percent} on ${bill}
crypto price | Current price of a cryptocurrency.
 coin: pool(coin) | Name of the coin
 currency?: pool(currency) = USD | Currency of the price | in {currency}
> What does one {coin} cost
> Check the price of {coin}
~ {coin}
budget plan | Makes a monthly budget.
 income: int(1200,9000,100) | Monthly net income
 goals: {save: int(50,900,50), rent: int(300,2500,50)} | Amounts to put aside
 strict?: bool = false | Forbid overspending | and be strict about it // but stay flexible
> Make a budget for an income of {income} with {goals}
mortgage afford | Price of the most expensive affordable home.
 monthly_income: int(2000,15000,100) | Income per month in dollars
 debts: int(0,2000,50) | Monthly debts in dollars
 down_payment?: int(5000,90000,1000) = 0 | Down payment in dollars | with a down payment of {down_payment} dollars
> What house can I afford earning {monthly_income} dollars a month with {debts} dollars of debts
@ units
convert temperature | Converts temperatures.
 value: num(-30,250,1) | Temperature to convert
 from_unit: enum(celsius/fahrenheit/kelvin) | Unit of the value
 to_unit: enum(celsius/fahrenheit/kelvin) | Unit wanted
> What is {value} degrees {from_unit} in {to_unit}
> Convert {value} {from_unit} to {to_unit}
~ {value} {from_unit} to {to_unit}
convert length | Converts a length.
 value: num(1,900,1) | The length
 from_unit: enum(miles/kilometers/feet/meters/inches/yards) | Unit to convert from
 to_unit: enum(miles/kilometers/feet/meters/inches/yards) | Unit to convert to
 precision?: int(1,6) = 2 | Decimals of the result | to {precision} decimal places
> How many {to_unit} are {value} {from_unit}
> Convert {value} {from_unit} into {to_unit}
~ {value} {from_unit} into {to_unit}
cooking conversion | Converts kitchen measures.
 quantity: num(0.5,12,1) | Quantity
 from_unit: enum(cups/tablespoons/teaspoons/ounces) | Unit to convert from
 to_unit: enum(milliliters/grams/tablespoons/teaspoons) | Unit to convert to
 item?: pool(ingredient) | Ingredient measured | of {item}
> How many {to_unit} are {quantity} {from_unit}
~ {quantity} {from_unit} to {to_unit}
time zone difference | Hours between two places.
 place_a: pool(city) | First city
 place_b: pool(city) | Second city
> What is the time difference between {place_a} and {place_b}
> How many hours apart are {place_a} and {place_b}
~ {place_a} and {place_b}
days between | Number of days between dates.
 start_date: date | First date, format YYYY-MM-DD
 end_date: date | Last date, format YYYY-MM-DD
> How many days are there between {start_date} and {end_date}
> Count the days from {start_date} to {end_date}
~ {start_date} to {end_date}
fuel cost | Cost of fuel for a trip.
 distance: int(20,1500) | Distance in kilometres
 consumption: num(4,14,1) | Litres per 100 km
 price: num(1.1,2.4,2) | Price of a litre
> What does fuel cost for {distance} km at {consumption} litres per 100 km and a price of {price} a litre
> Calculate the fuel cost of a {distance} km drive with {consumption} l/100km when a litre costs {price}
~ {distance} km, {consumption} litres per 100 km, {price} a litre
carbon footprint | Yearly carbon footprint.
 miles_driven: int(1000,20000,100) | Miles driven in a year
 diet: enum(vegan/vegetarian/omnivore) | Diet
 flights?: int(1,12) = 0 | Number of flights in a year | with {flights} flights
> Estimate the carbon footprint of a {diet} who drives {miles_driven} miles a year
ev range | Remaining range of an electric car.
 battery: pct(10,100) | State of charge in percent
 capacity: num(30,110,1) | Battery capacity in kWh
 speed?: int(50,150) = 90 | Average speed in km/h | driving at {speed} km/h
> How far can I drive with a {capacity} kWh battery that is charged to {battery}
~ {capacity} kWh at {battery}
paint needed | Litres of paint for walls.
 width: num(2,12,1) | Wall width in metres
 height: num(2,4,1) | Wall height in metres
 coats?: int(2,4) = 1 | Number of coats | with {coats} coats
> How much paint do I need for a wall {width} m wide and {height} m high
~ {width} m by {height} m
! How much paint do I need for the wall?
"""
